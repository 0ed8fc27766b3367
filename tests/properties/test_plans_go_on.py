"""An engine that goes on from its last plan makes the same plans as one that begins anew each time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from hypothesis import example, given, settings, strategies as st

from hal_core.models.plan import Plan, Snapshot
from hal_core.planes import Engine
from hal_core.sim.expectations import CORRECTIONS
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.promises import Memo
from tests.simulation.test_replay import PROCESSORS, cluster_of
from tests.support.replays import expectations_of
from tests.support.simple_traces import some_jobs

ENGINES: dict[str, Callable[[], Engine]] = {
    "easy": Easy,
    "easy-sjbf": lambda: Easy(is_shortest_first=True),
    "conservative": Conservative,
    "few promises": lambda: Conservative(promise_max=3),
}


class Anew:
    """The snapshot without what an engine could go on from."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.changes = None
        self.memo = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._snapshot, name)


@attrs.define
class Both:
    """Plans both ways at every pass; what differs is kept."""

    engine: Engine
    memo_count: int = 0
    differing: list[tuple[Plan, Plan]] = attrs.Factory(list)

    def plan(self, snapshot: Snapshot) -> Plan:
        anew = self.engine.plan(Anew(snapshot))  # type: ignore[arg-type]
        self.memo_count += isinstance(snapshot.memo, Memo) and snapshot.changes is not None
        plan = self.engine.plan(snapshot)
        for each in ((plan, anew), (anew, plan)):
            if _decided(each[0]) != _decided(each[1]):
                self.differing.append(each)
        return plan


def _decided(plan: Plan) -> object:
    return sorted(plan.starts, key=lambda start: start.job_id), plan.reserves, plan.wake_s, plan.is_settled


def random_step(seed: int) -> int:
    return Random(seed).choice((1, 7, 60))


@example(seed=0, name="conservative", node_count=1, estimates="last-two", order=EventOrder.TOGETHER)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(sorted(ENGINES)),
    node_count=st.sampled_from([1, 1, 4]),
    estimates=st.sampled_from(["requested", "perfect", "last-two"]),
    order=st.sampled_from(EventOrder),
)
def test_plans_are_the_same(seed: int, name: str, node_count: int, estimates: str, order: EventOrder) -> None:
    engine = Both(ENGINES[name]())
    jobs = some_jobs(seed, 100, step_s=random_step(seed))
    machine = Machine.pool(PROCESSORS) if node_count == 1 else Machine(cluster_of(node_count, PROCESSORS // node_count))
    run = Replay(engine, machine, jobs, Foresight(expectations_of(estimates), CORRECTIONS["incremental"]))
    for _ in run.run(order):
        pass
    if node_count == 1:
        assert engine.differing == []
    else:  # where nodes are chosen, a promise that is kept may name others than one that is made again
        assert [pair for pair in engine.differing if pair[0].starts != pair[1].starts] == []


def test_it_does_go_on() -> None:
    engine = Both(Conservative())
    foresight = Foresight(expectations_of("requested"), CORRECTIONS["request"])
    run = Replay(engine, Machine.pool(PROCESSORS), some_jobs(1, 200, 60), foresight)
    for _ in run.run(EventOrder.TOGETHER):
        pass
    assert engine.memo_count > 0.8 * run.pass_count
