"""The daemon's kernel on trio and the simulator on a heap decide alike: the same messages give the same events.

Both run the same core, engine and model of the nodes. Here the kernel has its real loop and writer; its clock is a
MockClock, moved by hand to the next instant once the kernel has nothing left to do, because one that jumps by itself
does not wait for the journal's thread. Times are multiples of 1/8 s, so that sleeping until a time is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hal_core.kernel.effects import Effects
from hal_core.kernel.loop import Kernel, _Item
from hal_core.kernel.observers import Observers
from hal_core.kernel.shell import Shell
from hal_core.models.effect import Effect
from hal_core.models.event import Event, JobPlaced, JobSubmitted
from hal_core.models.message import (
    Message,
)
from hal_core.planes import Engine
from hal_core.rules.core import Core
from hal_core.sim.executor_model import Due, ExecutorModel, FaultTurn, Part
from hal_core.sim.workload import Workload
from hal_core.testing import FakeEngine
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.memory_journal import MemoryJournal
from tests.support.stories import Story, make_story, run_simulation

ENGINES: tuple[type[Engine], ...] = (FakeEngine, Fcfs, Easy)


class InOrder(Effects):
    """Carries out effects on the model, in the order in which the core asked for them, at once."""

    def __init__(self, model: ExecutorModel, journal: MemoryJournal, workload: Workload) -> None:
        super().__init__({}, lambda _: "", {})
        self._model = model
        self._journal = journal
        self._seen_count = 0
        self._truth = {
            client_id: job for (_, client_id, _), job in zip(workload.submissions(), workload.jobs, strict=True)
        }

    async def run(
        self, epoch: int, report: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        await trio.sleep_forever()

    def start(self, effects: Sequence[Effect]) -> None:
        for event in self._journal.events[self._seen_count :]:
            if isinstance(event, JobSubmitted):
                self._model.learn({event.job_id: self._truth[event.client_id]})
        self._seen_count = len(self._journal.events)
        for effect in effects:
            self._model.act(effect, trio.current_time())


class DrivenKernel(Kernel):
    """The kernel with an inbox that takes several messages before the loop looks at any."""

    def put(self, messages: Iterable[Message]) -> None:
        self._inbox += [_Item(message) for message in messages]
        self._inbox_filled.set()

    async def idle(self) -> None:
        """Until nothing is left to do at this instant: every task waits, and everything is on disk."""
        while True:
            await trio.testing.wait_all_tasks_blocked()
            if self.durable_sequence == self.state.sequence and not self._inbox and not self._batch.effects:
                return
            await self.settled()


async def run_kernel(story: Story, engine: Engine, clock: trio.testing.MockClock) -> list[Event]:
    """The whole story through the real kernel. The journal that it wrote."""
    heap: list[tuple[float, int, Message | Due]] = []
    count = 0

    def post(time_s: float, entry: Message | Due) -> None:
        nonlocal count
        count += 1
        heappush(heap, (time_s, count, entry))

    journal, model = MemoryJournal(), ExecutorModel(post, story.delays)
    shell = Shell(
        journal=journal,
        effects=InOrder(model, journal, story.workload),
        observers=Observers({}),
        now_s=trio.current_time,
        rebuild=journal.rebuild,
    )
    core = Core(engine, "test")
    kernel = DrivenKernel(core, shell)
    model.add_nodes(story.cluster.nodes, 0.0)
    for time_s, _, message in story.workload.submissions():
        post(time_s, message)
    model.add_faults(story.faults)
    for time_s, message in story.script:
        post(time_s, message)
    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run, story.cluster)
        await kernel.idle()
        while (time_s := _next_time_s(heap, core)) is not None:
            clock.jump(time_s - trio.current_time())
            messages = []
            while heap and heap[0][0] <= time_s:
                entry = heappop(heap)[2]
                message = model.due(entry, time_s) if isinstance(entry, Part | FaultTurn) else entry
                messages += [message] if message is not None else []
            if messages:
                kernel.put(messages)
            await kernel.idle()
        nursery.cancel_scope.cancel()
    assert kernel.state.dump() == journal.rebuild().dump()
    return journal.events


def _next_time_s(heap: list[tuple[float, int, Any]], core: Core) -> float | None:
    wake_s = core.next_wake_s()
    head_s = heap[0][0] if heap else None
    return min((time_s for time_s in (wake_s, head_s) if time_s is not None), default=None)


# -- the tests ---------------------------------------------------------------------------------------------------------


def both(seed: int, engine: type[Engine]) -> tuple[list[Event], list[Event]]:
    story = make_story(Random(seed))
    clock = trio.testing.MockClock()
    return run_simulation(story, engine()), trio.run(run_kernel, story, engine(), clock, clock=clock)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**9), engine=st.sampled_from(ENGINES))
def test_both_shells_decide_alike(seed: int, engine: type[Engine]) -> None:
    simulated, real = both(seed, engine)
    for number, (left, right) in enumerate(zip(simulated, real, strict=False)):
        assert left == right, f"event {number} differs"
    assert len(simulated) == len(real)


def test_the_stories_are_worth_telling() -> None:
    kinds: dict[str, int] = {}
    for seed in range(30):
        for event in run_simulation(make_story(Random(seed)), Easy()):
            kinds[type(event).__name__] = kinds.get(type(event).__name__, 0) + 1
    expected = {
        "JobRequeued",
        "NodeWentDown",
        "PartEnded",
        "InputsStaged",
        "JobCancelRequested",
        "Planned",
        "OrphanFound",
    }
    assert kinds.keys() >= expected
    assert kinds[JobPlaced.__name__] > 200
