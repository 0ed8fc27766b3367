"""Self-tuning in the daemon: a change is an event, the engine in force plans, and trials rest on the journal alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from hal_core.errors import Unavailable
from hal_core.kernel.journal import Journal
from hal_core.kernel.tuning import Judge, Tuning
from hal_core.models.event import Planned, PolicyChanged
from hal_core.models.message import ChangePolicy, Message
from hal_core.models.tuning import Bounds, Verdict
from hal_core.plugins import Plugins
from hal_core.rules.state import State
from hal_core.tuning_service import Question, judged
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import World, make_cluster

TO_OTHER = Verdict("other", "it is better", 0.25)


def tunable() -> World:
    """Engines `test` (first come, first served) and `other` (EASY)."""
    world = World(make_cluster(1), Fcfs())
    world.core.others = {"other": Easy()}
    world.join()
    return world


def fill(world: World) -> None:
    """A job runs, a wide one waits for it, and small ones behind that would fit beside both."""
    cpus = world.state.cluster.nodes[0].cpu_count
    world.submit(cpus_per_task=cpus - 1, walltime_s=3600.0)
    world.plan()
    world.submit(cpus_per_task=cpus, walltime_s=3600.0)
    for _ in range(8):
        world.submit(cpus_per_task=1, walltime_s=60.0)


def test_a_change_is_an_event_and_the_engine_in_force_plans() -> None:
    world = tunable()
    fill(world)
    assert world.core.policy == "test"
    world.plan()
    assert not world.of(Planned)[1:], "the small jobs stand behind the wide one"
    world.tell(ChangePolicy(TO_OTHER, "test"))
    assert world.of(PolicyChanged) == [PolicyChanged(world.now_s, "other", "test", "it is better", 0.25)]
    assert world.core.policy == "other"
    assert world.core.needs_plan
    world.plan()
    assert world.of(Planned)[-1].engine == "other"
    assert world.of(Planned)[-1].start_count == 1


def test_it_outlives_a_restart_unless_the_configuration_names_the_engine_no_more() -> None:
    world = tunable()
    world.tell(ChangePolicy(TO_OTHER, "test"))
    world.core.state = State.load(world.state.dump())
    assert world.core.policy == "other"
    world.core.others = {}
    assert world.core.policy == "test"


async def told_by(judge: Judge, waiting_count: int) -> list[Message]:
    world = tunable()
    world.core.engine = Fcfs()
    for _ in range(waiting_count):
        world.submit(walltime_s=60.0)
    told: list[Message] = []

    async def report(message: Message) -> None:
        told.append(message)

    await Tuning(world.core, judge, 60.0, 3).tune(report)
    return told


async def test_a_verdict_for_another_policy_is_reported_and_one_for_the_same_is_not() -> None:
    async def other(current: str) -> Verdict:
        assert current == "test"
        return TO_OTHER

    async def same(current: str) -> Verdict:
        return Verdict(current, "no other policy is significantly better")

    assert await told_by(other, 3) == [ChangePolicy(TO_OTHER, "test")]
    assert await told_by(same, 3) == []


async def test_a_short_queue_is_not_judged() -> None:
    async def never(current: str) -> Verdict:
        raise AssertionError("nobody should ask")

    assert await told_by(never, 2) == []


async def test_what_cannot_be_judged_or_takes_too_long_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def fails(current: str) -> Verdict:
        raise Unavailable("no room on the disk")

    async def hangs(current: str) -> Verdict:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    assert await told_by(fails, 3) == []
    assert await told_by(hangs, 3) == []


@pytest.mark.parametrize(("base", "current", "wanted"), [("fcfs", "fcfs", "easy"), ("easy", "fcfs", "easy")])
def test_the_verdict_rests_on_the_journal_alone(tmp_path: Path, base: str, current: str, wanted: str) -> None:
    """What stands behind a wide job could run beside it: EASY lets it, first come, first served does not."""
    world = tunable()
    fill(world)
    journal = Journal.open(tmp_path)
    try:
        journal.append(world.events)
        question = Question(journal.sequence, world.now_s, base, current, {"fcfs": {}, "easy": {}}, Bounds(), {})
        verdict = judged(tmp_path, question, Plugins.load())
    finally:
        journal.close()
    assert verdict.policy == wanted
