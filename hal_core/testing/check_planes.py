"""The contracts of observers, clouds and executors, as checks to run against any implementation, real or fake.

Each takes a ready object and says what it must be given. They wait on observations, never on time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio
import trio.testing

from hal_core.models.effect import CancelOrder, LaunchOrder
from hal_core.models.event import Event, JobSubmitted, NodeDrained
from hal_core.models.job import EndKind, JobId, JobSpec, Owner
from hal_core.models.message import Message, NodeReported, PartsChanged, PartStatus
from hal_core.models.node import NodeName, NodeStatus, PartitionName
from hal_core.models.placement import AttemptKey
from hal_core.models.standing import Standing
from hal_core.planes import Executor, Observer, ReadingObserver, StandingObserver
from hal_core.testing.fakes import FakeEventLog

PATIENCE_S: Final = 30.0
"""How long a check waits for one observation before it fails. Only a broken implementation takes so long."""


async def check_observer(make: Callable[[], Observer]) -> None:
    """Batches of any size are taken, in order, also an event that the observer never saw the beginning of."""
    observer = make()
    spec = JobSpec(name="check", partition=PartitionName("all"), command=("true",))
    owner = Owner("user", 1000, 1000)
    events: list[Event] = [JobSubmitted(float(n), JobId(n), f"c{n}", owner, spec) for n in range(1, 4)]
    if isinstance(observer, StandingObserver):
        waiting, active = ((JobId(9), 2, 1.0),), ((JobId(9), 1, True),)
        observer.begin(Standing(0, waiting, active, ((NodeName("n1"), NodeStatus.UP, True),)))
    with trio.fail_after(PATIENCE_S):
        await observer.record(1, events)
        await observer.record(4, [])
        await observer.record(4, [NodeDrained(5.0, NodeName("never-seen"), "check", "root")])
        if isinstance(observer, ReadingObserver):
            await _check_reading(observer, events)


async def _check_reading(observer: ReadingObserver, events: Sequence[Event]) -> None:
    """It takes the log up wherever it is, waits for what comes, and leaves when it is cancelled."""
    log = FakeEventLog(events)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer.read_log, log)
            await log.until_placed()
            log.append(NodeDrained(5.0, NodeName("n1"), "check", "root"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


async def check_executor(executor: Executor, node: NodeName, quick: LaunchOrder, endless: LaunchOrder) -> None:
    """`node` is a node of the executor. `quick` ends by itself with exit code 0, `endless` only when it is cancelled.

    Their keys must be unused; the check derives further attempts from them.
    """
    seen = _Seen()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE_S):
            await nursery.start(executor.run, seen.report)
            await seen.until(lambda: node in seen.nodes)
            await _check_ends_once(executor, node, quick, seen)
            await _check_cancel(executor, node, endless, seen)
            await _check_epoch(executor, node, quick, seen)
            await executor.forget(node, sorted(seen.parts))
        nursery.cancel_scope.cancel()


async def _check_ends_once(executor: Executor, node: NodeName, quick: LaunchOrder, seen: _Seen) -> None:
    order = attrs.evolve(quick, epoch=1)
    await executor.launch(node, [order])
    first = await seen.end_of(order.key)
    assert first.end is not None
    assert (first.end.kind, first.end.exit_code) == (EndKind.EXITED, 0), first
    assert first.start_time_s is not None, f"ended without a start: {first}"
    assert first.end_time_s is not None, f"ended without a time: {first}"
    assert first.start_time_s <= first.end_time_s, f"ended before it started: {first}"
    del seen.parts[order.key]
    await executor.launch(node, [order])
    assert await seen.end_of(order.key) == first, "a repeated launch did not report what was known"


async def _check_cancel(executor: Executor, node: NodeName, endless: LaunchOrder, seen: _Seen) -> None:
    order = attrs.evolve(endless, epoch=1)
    await executor.launch(node, [order])
    await seen.until(lambda: order.key in seen.parts)
    started = seen.parts[order.key]
    assert started.end is None, f"the endless order ended by itself: {started}"
    assert started.start_time_s is not None
    never = AttemptKey(JobId(order.key.job_id + 1000), 0, 1)
    await executor.cancel(node, [CancelOrder(never, 1.0), CancelOrder(order.key, 1.0)])
    ended = await seen.end_of(order.key)
    assert ended.start_time_s == started.start_time_s, "the start moved"
    assert ended.end is not None
    assert ended.end.kind in (EndKind.CANCELLED, EndKind.SIGNALLED), ended
    await executor.cancel(node, [CancelOrder(order.key, 1.0)])
    # An executor may record that what was cancelled before it was launched never will be; it must not say that it ran.
    recorded = seen.parts.get(never)
    assert recorded is None or recorded.start_time_s is None, "a cancel made up an attempt"


async def _check_epoch(executor: Executor, node: NodeName, quick: LaunchOrder, seen: _Seen) -> None:
    newer = attrs.evolve(quick, key=quick.key._replace(attempt=quick.key.attempt + 1), epoch=3)
    older = attrs.evolve(quick, key=quick.key._replace(attempt=quick.key.attempt + 2), epoch=2)
    last = attrs.evolve(quick, key=quick.key._replace(attempt=quick.key.attempt + 3), epoch=3)
    for order in (newer, older, last):
        await executor.launch(node, [order])
    await seen.end_of(newer.key)
    await seen.end_of(last.key)
    assert older.key not in seen.parts, "an order of an older epoch was carried out"


class _Seen:
    """What an executor reported so far. Starts and ends only ever add up: a report that takes one back is a failure."""

    def __init__(self) -> None:
        self.nodes: set[NodeName] = set()
        self.parts: dict[AttemptKey, PartStatus] = {}
        self._changed = trio.Event()

    async def report(self, message: Message) -> None:
        match message:
            case NodeReported(node=node, parts=parts):
                self.nodes.add(node.name)
            case PartsChanged(parts=parts):
                pass
            case _:
                parts = ()
        for part in parts:
            known = self.parts.get(part.key)
            assert known is None or known.end in (None, part.end), f"an end was taken back: {known}, then {part}"
            self.parts[part.key] = part
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()

    async def end_of(self, key: AttemptKey) -> PartStatus:
        await self.until(lambda: key in self.parts and self.parts[key].end is not None)
        return self.parts[key]
