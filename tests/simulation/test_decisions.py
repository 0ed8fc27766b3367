"""Replaying a journal reproduces every decision exactly: of all engines, with arrays, gangs, node losses, restarts."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import attrs
from hypothesis import given, settings, strategies as st

from hal_core.models.event import Event, JobEnded, JobPlaced, NodeWentDown, Planned
from hal_core.models.plan import Plan, Snapshot
from hal_core.planes import Engine
from hal_core.rules.state import State
from hal_core.sim.decisions import Verdict, repeat_decisions
from hal_core.sim.journal_trace import read_journal
from hal_core.testing import FakeEngine
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.cli import hal
from tests.support.hal import HalCluster
from tests.support.stories import make_story, run_simulation

ENGINES: dict[str, Callable[[], Engine]] = {
    "fake": FakeEngine,
    "fcfs": Fcfs,
    "easy": Easy,
    "easy-sjbf": lambda: Easy(is_shortest_first=True),
    "conservative": Conservative,
    "reserve": lambda: Conservative(promise_max=2),
    "hurried": lambda: Conservative(budget_steps=5),
}


def repeat(events: list[Event], make: Callable[[], Engine]) -> Verdict:
    return repeat_decisions(lambda: events, lambda _: make())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), name=st.sampled_from(sorted(ENGINES)))
def test_every_decision_of_a_story_is_repeated(seed: int, name: str) -> None:
    events = run_simulation(make_story(Random(seed)), ENGINES[name]())
    verdict = repeat(events, ENGINES[name])
    assert verdict.differences == ()
    assert verdict.event_count == len(events)
    assert verdict.start_count == sum(isinstance(event, JobPlaced) for event in events)
    assert verdict.pass_count == sum(isinstance(event, Planned) for event in events)


def test_the_stories_have_what_is_hard_to_repeat() -> None:
    events = [event for seed in range(40) for event in run_simulation(make_story(Random(seed)), Conservative())]
    placed = [event for event in events if isinstance(event, JobPlaced)]
    assert any(len(event.shares) > 1 for event in placed), "no gang"
    assert any(event.attempt > 1 for event in placed), "nothing was queued again"
    assert any(isinstance(event, NodeWentDown) for event in events)
    assert any(len(event.reserves) > 1 for event in events if isinstance(event, Planned))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**9), share=st.floats(0, 1))
def test_a_restart_in_between_changes_no_decision(seed: int, share: float) -> None:
    """What the daemon loads after a restart decides as the one that went on would have."""
    events = run_simulation(make_story(Random(seed)), Conservative())
    cut = int(share * len(events))
    state = State()
    for event in events[:cut]:
        state.apply(event)
    again = State.load(state.dump())
    assert (again.promises, again.has_released) == (state.promises, state.has_released)
    now_s = state.time_s + 1.0
    assert Conservative().plan(again.snapshot(now_s)) == Conservative().plan(state.snapshot(now_s))


@attrs.frozen
class Forgetful:
    """An engine that leaves out the last start of each plan."""

    engine: Engine

    def plan(self, snapshot: Snapshot) -> Plan:
        plan = self.engine.plan(snapshot)
        return attrs.evolve(plan, starts=plan.starts[:-1])


def test_an_engine_that_decides_otherwise_is_found_out() -> None:
    events = run_simulation(make_story(Random(4)), Easy())
    verdict = repeat(events, lambda: Forgetful(Easy()))
    assert verdict.differences
    assert str(verdict.differences[0]).startswith(f"event {verdict.differences[0].sequence + 1}")
    tampered = [attrs.evolve(e, depth=e.depth + 1) if isinstance(e, Planned) else e for e in events]
    assert repeat(tampered, Easy).differences


def test_a_journal_is_a_trace() -> None:
    events = run_simulation(make_story(Random(11)), Easy())
    trace = read_journal(events)
    assert trace.cluster is not None
    assert trace.processors == sum(node.cpu_count for node in trace.cluster.nodes)
    assert trace.jobs
    assert all(job.run_s > 0 and job.recorded_wait_s >= 0 for job in trace.jobs)


def test_who_ran_for_no_time_that_could_be_measured_did_run() -> None:
    """The parts of a gang start and end by the clocks of two nodes, and some programs are over at once."""
    events = run_simulation(make_story(Random(11)), Easy())
    ran = [event for event in events if isinstance(event, JobEnded) and event.start_time_s is not None]
    short = [attrs.evolve(event, end_time_s=event.start_time_s) if event in ran else event for event in events]
    assert len(read_journal(short).jobs) == len(read_journal(events).jobs) > 0


def test_the_journal_of_a_real_daemon(tmp_path: Path) -> None:
    """Arrays, gangs, jobs that fail, a daemon that is killed in between: all is decided again as it was."""
    with HalCluster(node_count=2, cpus=2, base=tmp_path) as cluster:
        cluster.submit("/bin/true", options=[("array", "0-9"), ("time", "5")])
        for _ in range(3):
            cluster.submit("/bin/true", options=[("nodes", "2"), ("exclusive", "")])
            cluster.submit("/bin/false", options=[("cpus-per-task", "2"), ("time", "1")])
        cluster.wait_until_done()
        cluster.tree.signal(cluster.service, signal.SIGKILL)
        cluster.tree.wait_for_exits([cluster.service], 60)
        cluster.start()
        cluster.submit("/bin/true", options=[("array", "0-4")])
        cluster.wait_until_done()
    (journal,) = tmp_path.rglob("journal.sqlite")
    done = hal("/nowhere", "replay", str(journal.parent), "--verify", "--json")
    assert done.code == 0, done
    (verdict,) = json.loads(done.out)["journals"].values()
    assert verdict["differences"] == []
    assert verdict["starts"] >= 10
    again = hal("/nowhere", "simulate", str(journal), "--policy", "easy", "--policy", "conservative", "--json")
    assert [run["jobs"] for run in json.loads(again.out)["runs"]] == [21, 21], again
