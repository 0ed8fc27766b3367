"""Events for tests of the journal: realistic jobs by number, arbitrary ones of every kind, and a small fold of them."""

from __future__ import annotations

import hashlib
import os
import signal
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st

from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_recovery import rebuild
from hal_core.models.event import (
    EVENT_CLASSES,
    Event,
    JobEnded,
    JobPlaced,
    JobSubmitted,
    PartStarted,
    encode_event,
)
from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner
from hal_core.models.node import NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share

EPOCH_TIME_S = 1_700_000_000.0


def job_events(number: int) -> list[Event]:
    """The four events of a short job, the same for the same number."""
    time_s, job_id, node = EPOCH_TIME_S + number, JobId(number), NodeName(f"n{number % 3}")
    owner = Owner(f"user{number % 5}", 1000 + number % 5, 100)
    spec = JobSpec(
        name=f"name{number % 7}",
        partition=PartitionName(f"part{number % 2}"),
        command=("/bin/true",),
        task_count=2,
        cpus_per_task=2,
        walltime_s=60.0,
        account="physics",
    )
    end = End(EndKind.EXITED, exit_code=number % 3, peak_memory_bytes=4096 * number, cpu_s=0.25)
    return [
        JobSubmitted(time_s, job_id, f"client-{number}", owner, spec),
        JobPlaced(time_s + 0.1, job_id, 1, ((0, 1),), (Share(node, 2, "0-3"),)),
        PartStarted(time_s + 0.2, AttemptKey(job_id, 0, 1), node, time_s + 0.2),
        JobEnded(time_s + 0.5, job_id, ((0, 1),), 1, end, time_s + 0.2, time_s + 0.4),
    ]


def event_at(sequence: int) -> Event:
    """The event of an endless journal of such jobs, counted from 1."""
    return job_events((sequence - 1) // 4 + 1)[(sequence - 1) % 4]


def events_between(first: int, last: int) -> list[Event]:
    """Both inclusive."""
    return [event_at(sequence) for sequence in range(first, last + 1)]


class Digest:
    """A fold that any lost, doubled, changed or reordered event changes."""

    def __init__(self) -> None:
        self.value = b""

    def apply(self, event: Event) -> None:
        kind, _, body = encode_event(event)
        self.value = hashlib.sha256(self.value + kind.encode() + body).digest()

    def dump(self) -> bytes:
        return self.value

    @classmethod
    def load(cls, content: bytes) -> Self:
        if len(content) != hashlib.sha256().digest_size:
            raise ValueError("not a digest")
        digest = cls()
        digest.value = content
        return digest


def digest_of(events: list[Event]) -> bytes:
    digest = Digest()
    for event in events:
        digest.apply(event)
    return digest.value


def recovered(directory: Path) -> tuple[int, bytes]:
    """Open the journal, fold it, close it: its last sequence and the digest of everything in it."""
    with opened(directory) as journal:
        return journal.sequence, rebuild(journal.recover, Digest)[0].value


@contextmanager
def opened(directory: Path, **arguments: Any) -> Iterator[Journal]:
    journal = Journal.open(directory, **arguments)
    try:
        yield journal
    finally:
        journal.close()


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked process that ends without any clean-up, as by kill -9. Returns its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def any_event() -> st.SearchStrategy[Event]:
    """Every kind of event, with arbitrary contents that the models allow."""
    return st.one_of([_of(cls) for cls in EVENT_CLASSES.values()])


def _of(wanted: Any) -> st.SearchStrategy[Any]:
    """A strategy for a type as the models use them: no NaN and no infinity, integers that fit 63 bits."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        float: st.floats(allow_nan=False, allow_infinity=False),
        int: st.integers(0, (1 << 63) - 1),
        str: st.text(max_size=12),
        bool: st.booleans(),
        type(None): st.none(),
    }
    if wanted in simple:
        return simple[wanted]
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return st.one_of([_of(argument) for argument in arguments])
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(_of(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*[_of(argument) for argument in arguments])
    if hasattr(wanted, "__supertype__"):
        return _of(wanted.__supertype__)
    if attrs.has(wanted) or hasattr(wanted, "_fields"):
        hints = get_type_hints(wanted)
        names = wanted._fields if hasattr(wanted, "_fields") else [field.name for field in attrs.fields(wanted)]
        return st.builds(wanted, **{name: _of(hints[name]) for name in names})
    return st.sampled_from(wanted)
