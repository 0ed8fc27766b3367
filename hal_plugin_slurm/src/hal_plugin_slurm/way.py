"""What the bridge asks of a Slurm cluster, in six questions, and the nouns of the answers.

Two adapters answer them: `rest.py` through slurmrestd, `command_line.py` through Slurm's commands. Both give the same
answers; what differs between versions of Slurm ends there. One call is one request to Slurm, whatever the number of
jobs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import attrs

from hal_core import HalError, NodeName, Ranges, RangeSet, UserError, count_of, parse_hosts
from hal_plugin_slurm.usage import Used

Target = tuple[int, Ranges | None]
"""What to cancel: a job or a whole array by its native id, or some elements of an array."""

LAUNCH_FAILED_SIGNAL: Final = 53
"""The "signal" by which Slurm says that a job's directory or output could not be opened (`0:53`)."""


MAINTENANCE: Final = "maint"
"""The state of a node that nobody uses while it is in a reservation for maintenance."""


class SlurmRefused(HalError):
    """Slurm took the request and said no; asked again it would say the same. The text is Slurm's."""


class SlurmSilent(HalError):
    """Nothing was asked: Slurm, or the way to it, could not be reached. It may be asked again."""


class SlurmUnanswered(SlurmSilent):
    """Slurm was asked and the answer is not known: whatever was asked for may have happened."""


@attrs.frozen
class Submission:
    """One job or array to submit. Slurm is asked not to requeue it by itself: attempts are HAL's to number.

    `name` ends with a mark by which it is found again. `script` is complete, with its environment. Paths are absolute
    and may hold Slurm's patterns. Empty or 0 means that nothing is asked.
    """

    user: str
    name: str
    script: str
    directory: str
    output: str
    error: str
    input: str = "/dev/null"
    does_append: bool = False
    partition: str = ""
    indices: str = ""
    """Of an array, as ranges: `0-31,40`."""
    node_count: int = 1
    task_count: int = 1
    cpus_per_task: int = 1
    memory_mb_per_node: int = 0
    gres_per_node: str = ""
    constraint: str = ""
    is_exclusive: bool = False
    time_limit_min: int = 0
    account: str = ""
    qos: str = ""
    reservation: str = ""
    comment: str = ""

    @property
    def tasks_per_node(self) -> int:
        """On the fullest node."""
        return -(-self.task_count // self.node_count)


@attrs.frozen
class SlurmJob:
    """One job or array element as Slurm sees it, or what is left of an array that has not started (`is_rest`).

    `index` is None for what is no array element. `rest` has the indices of what is left; it is empty where Slurm
    shortened them. An element that is cancelled before it starts leaves the rest, and there is no record of it. Codes
    are None where Slurm does not tell them. Times in seconds since the epoch, None if not yet.
    """

    native_id: int
    name: str
    state: str
    """Slurm's word in full: PENDING, RUNNING, COMPLETED, OUT_OF_MEMORY ..."""
    index: int | None = None
    is_rest: bool = False
    rest: Ranges = ()
    exit_code: int | None = None
    signal: int | None = None
    start_time_s: float | None = None
    end_time_s: float | None = None
    nodes: str = ""
    reason: str = ""
    user: str = ""
    """Whose it is, as slurmctld says; accounting is not asked, for this and all that follows."""
    partition: str = ""
    """Several, with commas, while it waits for either of them."""
    priority: int = 0
    limit_s: float | None = None
    tres: str = ""
    """What it has, or asks for while it waits: `cpu=8,mem=400M,node=2,gres/gpu=2`."""
    submit_time_s: float = 0.0
    reservation: str = ""
    """The one that it runs in; empty: outside of all."""
    used: Used | None = None
    """As accounting says, in whose answers only it is; None while it does not know."""

    @property
    def amounts(self) -> Amounts:
        return amounts_of(self.tres)

    @property
    def waiting_count(self) -> int:
        """So many elements wait in this record."""
        return max(count_of(self.rest), 1)


@attrs.frozen
class SlurmNode:
    """A node as Slurm sees it. `gpus` has the type of each device; the type is empty where Slurm has none."""

    name: str
    state: str
    """Slurm's word, lower case and without flags: idle, mixed, allocated, down, drained ..."""
    cpu_count: int
    memory_mb: int
    gpus: tuple[str, ...] = ()
    reason: str = ""
    partitions: tuple[str, ...] = ()


@attrs.frozen
class SlurmReservation:
    """Nodes that Slurm keeps for some, or for maintenance. Times in seconds since the epoch."""

    name: str
    nodes: str
    start_time_s: float
    end_time_s: float
    cpu_count: int
    """On all of its nodes together: less than these have, if it keeps cores only."""


class Amounts(NamedTuple):
    """Of a job, on all of its nodes together."""

    node_count: int
    cpu_count: int
    memory_mb: int
    gpu_count: int


class Way(Protocol):
    """A way into one cluster. All raise SlurmSilent or SlurmUnanswered; only `submit` and `cancel` SlurmRefused."""

    async def submit(self, submission: Submission) -> int:
        """Returns the id that Slurm gave to the job, or to the array as a whole."""
        ...

    async def jobs(self) -> Sequence[SlurmJob]:
        """All jobs that slurmctld knows: those that wait and run, and for a while (MinJobAge) those that ended."""
        ...

    async def history(self, names: Sequence[str], since_s: float) -> Sequence[SlurmJob] | None:
        """Jobs of these names that had not ended by then, from accounting, with what they used; None if the cluster has
        no accounting."""
        ...

    async def cancel(self, targets: Sequence[Target]) -> None:
        """End jobs and elements of arrays. Unknown and ended ones are passed over."""
        ...

    async def nodes(self) -> Sequence[SlurmNode]: ...

    async def reservations(self) -> Sequence[SlurmReservation]:
        """Those that are, and those to come; of one that is repeated the next."""
        ...


def wait_status(status: int) -> tuple[int | None, int | None]:
    """(exit code, signal) of the integer that slurmctld keeps: one of them is None."""
    signal = status & 0x7F
    return (None, signal) if signal else (status >> 8, None)


def indices_of(text: str) -> Ranges:
    """The indices in `2-5,9-21:3%4`; none if the list is shortened (`...`). Raises ValueError for what is no list."""
    if text.endswith("..."):
        return ()
    found = RangeSet()
    for part in text.strip("[]").partition("%")[0].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        if step:
            found.update((index, index + 1) for index in range(int(first), int(last) + 1, int(step)))
        else:
            found.update([(int(first), int(last or first) + 1)])
    return found.ranges()


@lru_cache(maxsize=16_384)
def amounts_of(tres: str) -> Amounts:
    """Of `cpu=8,mem=400M,node=2,billing=8,gres/gpu=2`. What is not there, or cannot be read, is 1 node or CPU, or 0."""
    values = dict(part.partition("=")[::2] for part in tres.split(","))
    found = re.fullmatch(r"([0-9.]+)([KMGTP]?)", values.get("mem", ""))
    memory_mb = float(found[1]) * 1024.0 ** ("KMGTP".index(found[2] or "M") - 1) if found else 0.0
    whole = {name: int(text) for name, text in values.items() if text.isdecimal()}
    return Amounts(whole.get("node", 1), whole.get("cpu", 1), math.ceil(memory_mb), whole.get("gres/gpu", 0))


def kept_cpu_count(tres: str) -> int:
    """Of a reservation's `cpu=8`; one of licences only has none."""
    return amounts_of(tres).cpu_count if "cpu=" in tres else 0


@lru_cache(maxsize=4096)
def limit_of(text: str) -> float | None:
    """Seconds of `1-02:03:04`, `2:03:04` or `3:04`; None for UNLIMITED and the like."""
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in parts) or (dash and not days.isdecimal()):
        return None
    units_s = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
    return float(
        int(days or 0) * 86_400 + sum(int(part) * unit_s for part, unit_s in zip(parts, units_s, strict=False))
    )


@lru_cache(maxsize=16_384)
def names_of(nodes: str) -> tuple[NodeName, ...]:
    """The nodes in `n[01-04],m1`; none where Slurm writes something else, such as `(null)`."""
    try:
        return tuple(map(NodeName, parse_hosts(nodes))) if nodes else ()
    except UserError:
        return ()


def gpus_of(gres: str) -> tuple[str, ...]:
    """The devices in a node's GRES: `gpu:a100:2(S:0-1),gpu:1,shard:8`."""
    found: list[str] = []
    for part in _split_outside_brackets(gres):
        name, *words = part.partition("(")[0].split(":")
        if name == "gpu":
            count = int(words[-1]) if words and words[-1].isdecimal() else 1
            found += [words[0] if len(words) == 2 or (words and not words[0].isdecimal()) else ""] * count
    return tuple(found)


def _split_outside_brackets(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
