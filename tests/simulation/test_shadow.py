"""A shadow, against the truth: another scheduler is played by the simulator with another engine, looked at now and
then, and what HAL is said to do with what was seen is what HAL does with the jobs themselves."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import Conflict, InvalidInput
from hal_core.models.event import JobPlaced, JobSubmitted
from hal_core.models.foreign import ForeignJob, ForeignNode, Look
from hal_core.models.message import DrainNode, ResumeNode
from hal_core.models.node import NodeName
from hal_core.rules.core import Core
from hal_core.shadow.comparison import compare
from hal_core.shadow.decisions import Decisions, decide_all
from hal_core.shadow.facts import Began
from hal_core.shadow.history import History
from hal_core.shadow.record import Record, read_history
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, Workload, generate
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.core_world import ALL, make_cluster

CLUSTER = make_cluster(4)
MIX = Mix(arrival_s_mean=60.0, runtime_s_mean=400.0, cpu_count_max=3, failed_share=0.0)
BEGIN_S = 1_000_000.0
NODES = tuple(ForeignNode(node.name, node.cpu_count, node.memory_bytes, len(node.gpus)) for node in CLUSTER.nodes)


def jobs_of(seed: int, count: int = 30) -> Workload:
    """From BEGIN_S on; nobody reaches the limit, for Slurm kills later than HAL."""
    found = generate(Random(seed), count, ALL, MIX)
    return Workload(
        tuple(
            attrs.evolve(
                job,
                submit_time_s=BEGIN_S + job.submit_time_s,
                spec=attrs.evolve(job.spec, walltime_s=max(job.spec.walltime_s or 0.0, job.runtime_s + 1.0)),
            )
            for job in found.jobs
        )
    )


@attrs.frozen
class Run:
    """A whole run of one engine over the jobs: what another scheduler would say at any time."""

    workload: Workload
    starts: dict[str, tuple[float, tuple[NodeName, ...]]]

    @classmethod
    def of(cls, workload: Workload, engine: object, closed: tuple[float, float] | None = None) -> Run:
        simulation = Simulation(Core(engine, "test"), CLUSTER, start_time_s=BEGIN_S - 1.0)
        simulation.add_workload(workload)
        if closed is not None:
            simulation.post(closed[0], DrainNode(NODES[0].name, "fan", "op"))
            simulation.post(closed[1], ResumeNode(NODES[0].name, "op"))
        simulation.run()
        names = {e.job_id: e.client_id for e in simulation.events if isinstance(e, JobSubmitted)}
        placed = [event for event in simulation.events if isinstance(event, JobPlaced)]
        return cls(workload, {names[e.job_id]: (e.time_s, tuple(share.node for share in e.shares)) for e in placed})

    @property
    def end_s(self) -> float:
        """All is over, and was seen to be."""
        ends = (self.starts[f"workload-{at}"][0] + job.runtime_s for at, job in enumerate(self.workload.jobs))
        return max(ends) + 250.0

    def look(self, time_s: float, closed: str = "") -> Look:
        found = []
        for number, job in enumerate(self.workload.jobs):
            if job.submit_time_s > time_s:
                continue
            start_s, nodes = self.starts[f"workload-{number}"]
            has_started, end_s = start_s <= time_s, start_s + job.runtime_s
            if end_s + 300.0 < time_s:
                continue  # forgotten, as slurmctld does
            spec = job.spec
            found.append(
                ForeignJob(
                    str(number),
                    job.owner.user,
                    spec.partition,
                    job.submit_time_s,
                    spec.node_count,
                    spec.node_count * spec.cpus_per_task,
                    limit_s=spec.walltime_s,
                    start_time_s=start_s if has_started else None,
                    end_time_s=end_s if end_s <= time_s else None,
                    nodes=nodes if has_started else (),
                    reason="" if has_started else "Resources",
                )
            )
        first = attrs.evolve(NODES[0], closed=closed)
        return Look(time_s, (first, *NODES[1:]), tuple(found))


def followed(run: Run, until_s: float, every_s: float = 30.0, from_s: float = BEGIN_S) -> History:
    history = History()
    history.apply(Began(0.0, "slurm"))
    time_s = from_s
    while time_s <= until_s:
        for fact in history.news(run.look(time_s)):
            history.apply(fact)
        time_s += every_s
    return history


def starts_of(decisions: Decisions) -> dict[str, float | None]:
    return {each.job.came.key.partition("@")[0]: each.start_s for each in decisions.jobs}


@given(seed=st.integers(0, 10_000), cut_s=st.floats(100.0, 12_000.0))
@settings(max_examples=12, deadline=None)
def test_what_is_settled_is_what_hal_does(seed, cut_s):
    """Cut off at any time: settled decisions are those that HAL makes when it has all of the jobs, to the second."""
    workload = jobs_of(seed)
    foreign, truth = Run.of(workload, Fcfs()), Run.of(workload, Easy())
    history = followed(foreign, BEGIN_S + cut_s, 120.0)
    decisions = decide_all(history, CLUSTER, Easy(), "easy")
    for each in decisions.jobs:
        name = each.job.came.key.partition("@")[0]
        true_s = truth.starts[f"workload-{name}"][0]
        if each.is_settled and each.start_s is not None:
            assert each.start_s == pytest.approx(true_s, rel=0, abs=1e-3), f"job {name}"
        elif each.is_settled:
            assert true_s > decisions.settled_s - 1e-6
    assert decisions.left_out == {}


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_a_scheduler_that_decides_as_hal_does_differs_in_nothing(seed):
    run = Run.of(jobs_of(seed), Easy())
    history = followed(run, run.end_s, 120.0)
    found = compare(history, decide_all(history, CLUSTER, Easy(), "easy"))
    assert (found.total.count, found.total.sooner, found.total.later) == (30, 0, 0)
    assert found.settled == 30
    assert found.total.foreign == found.total.hal
    assert (found.largest, found.gaps) == ((), ())


@given(seed=st.integers(0, 10_000), begin_s=st.floats(500.0, 3_000.0))
@settings(max_examples=4, deadline=None)
def test_what_ran_and_waited_before_the_first_look_is_there_too(seed, begin_s):
    """What runs keeps its nodes until it ends; who waits has waited since it came, and starts after the first look."""
    run = Run.of(jobs_of(seed), Fcfs())
    history = followed(run, run.end_s, 120.0, from_s=BEGIN_S + begin_s)
    decisions = decide_all(history, CLUSTER, Fcfs(), "fcfs")
    waiting = [job for job in history.jobs.values() if job.start_time_s >= history.begin_s]
    assert len(decisions.jobs) == len(waiting)
    assert decisions.left_out == {}, "all that ran has found its nodes"
    for each in decisions.jobs:
        assert each.start_s == pytest.approx(max(each.job.start_time_s, history.begin_s), rel=0, abs=1e-3), (
            "FCFS goes on as FCFS did"
        )


def test_a_node_that_is_closed_there_is_closed_for_hal():
    workload = jobs_of(7)
    closed = (BEGIN_S + 300.0, BEGIN_S + 3_000.0)
    truth = Run.of(workload, Easy(), closed)
    history = History()
    for number in range(200):
        time_s = BEGIN_S + 75.0 * number
        look = truth.look(time_s, "fan" if closed[0] <= time_s < closed[1] else "")
        for fact in history.news(look):
            history.apply(fact)
    decisions = decide_all(history, CLUSTER, Easy(), "easy")
    true = {name.removeprefix("workload-"): start_s for name, (start_s, _) in truth.starts.items()}
    assert starts_of(decisions) == pytest.approx(true, rel=0, abs=1e-3)


def look_at(time_s: float, *jobs: ForeignJob) -> Look:
    return Look(time_s, NODES, jobs)


def test_a_job_that_is_kept_back_comes_when_it_is_let_go():
    job = ForeignJob("1", "ada", ALL, BEGIN_S, limit_s=60.0, reason="JobHeldUser", is_ready=False)
    free = attrs.evolve(job, reason="Priority", is_ready=True)
    started = attrs.evolve(free, reason="", start_time_s=BEGIN_S + 150.0, nodes=(NODES[0].name,))
    history = History()
    for look in (look_at(BEGIN_S, job), look_at(BEGIN_S + 100.0, free), look_at(BEGIN_S + 160.0, started)):
        for fact in history.news(look):
            history.apply(fact)
    (decision,) = decide_all(history, CLUSTER, Fcfs(), "fcfs").jobs
    assert decision.start_s == BEGIN_S + 100.0
    found = compare(history, decide_all(history, CLUSTER, Fcfs(), "fcfs"))
    assert (found.total.foreign.mean, found.total.hal.mean, found.total.sooner) == (50.0, 0.0, 1)
    assert [group.name for group in found.by_reason] == ["Priority"]


def test_what_is_not_compared_is_counted_by_why():
    held = ForeignJob("1", "ada", ALL, BEGIN_S, reason="Dependency", is_ready=False)
    cancelled = ForeignJob("2", "ada", ALL, BEGIN_S, reason="Priority")
    elsewhere = ForeignJob("3", "ada", "gpu", BEGIN_S, reason="Priority")
    history = History()
    for look in (look_at(BEGIN_S, held, cancelled, elsewhere), look_at(BEGIN_S + 30.0, held, elsewhere)):
        for fact in history.news(look):
            history.apply(fact)
    decisions = decide_all(history, CLUSTER, Fcfs(), "fcfs")
    assert decisions.jobs == ()
    assert decisions.left_out == {
        "waits for a person, another job or a time": 1,
        "ended before it began": 1,
        "in no partition of the configuration": 1,
    }


def test_an_end_that_nobody_saw_is_taken_to_be_when_it_was_missed():
    job = ForeignJob("1", "ada", ALL, BEGIN_S, start_time_s=BEGIN_S, nodes=(NODES[0].name,))
    history = History()
    for look in (look_at(BEGIN_S + 10.0, job), look_at(BEGIN_S + 2_000.0)):
        for fact in history.news(look):
            history.apply(fact)
    (known,) = history.jobs.values()
    assert (known.end_time_s, history.open) == (BEGIN_S + 2_000.0, {})
    assert history.gaps == [(BEGIN_S + 10.0, BEGIN_S + 2_000.0)]


def test_a_name_that_is_used_again_is_another_job():
    first = ForeignJob("1", "ada", ALL, BEGIN_S, start_time_s=BEGIN_S, end_time_s=BEGIN_S + 1.0, nodes=("n0",))
    again = ForeignJob("1", "bob", ALL, BEGIN_S + 500.0, reason="Priority")
    history = History()
    for look in (look_at(BEGIN_S + 2.0, first), look_at(BEGIN_S + 510.0, again)):
        for fact in history.news(look):
            history.apply(fact)
    assert [job.came.user for job in history.jobs.values()] == ["ada", "bob"]


# -- the record ------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1_000), share=st.floats(0.0, 1.0))
@settings(max_examples=8, deadline=None)
def test_a_record_cut_off_anywhere_goes_on_to_the_same_history(tmp_path_factory, seed, share):
    """A crash leaves any number of bytes; the next one who follows finds what is new since the last whole line."""
    path = tmp_path_factory.mktemp("record") / "shadow.jsonl"
    run = Run.of(jobs_of(seed, 12), Fcfs())
    times_s = [BEGIN_S + 90.0 * number for number in range(20)]
    with Record(path) as record:
        record.add([Began(0.0, "slurm")])
        for time_s in times_s:
            record.add(record.history.news(run.look(time_s)))
        whole = record.history
    data = path.read_bytes()
    path.write_bytes(data[: math.floor(share * len(data))])
    cut = read_history(path)
    with Record(path) as record:
        for time_s in times_s:
            if time_s > cut.last_s:
                record.add(record.history.news(run.look(time_s)))
        assert jobs_known(record.history) == jobs_known(whole)
    assert read_history(path) == record.history


def jobs_known(history: History) -> dict[str, tuple[object, ...]]:
    """What does not depend on when it was looked."""
    return {
        key: (job.came.user, job.came.cpu_count, job.ready_time_s, job.start_time_s, job.nodes, job.end_time_s)
        for key, job in history.jobs.items()
        if job.start_time_s is not None
    }


def test_nothing_is_written_that_is_known(tmp_path: Path):
    run = Run.of(jobs_of(3), Fcfs())
    with Record(tmp_path / "shadow.jsonl") as record:
        record.add(record.history.news(run.look(BEGIN_S + 500.0)))
        again = record.history.news(attrs.evolve(run.look(BEGIN_S + 500.0), time_s=BEGIN_S + 501.0))
    assert [type(fact).__name__ for fact in again] == ["Looked"]


def test_two_cannot_write_one_record(tmp_path: Path):
    with Record(tmp_path / "r"), pytest.raises(Conflict, match="another `hal shadow follow`"):
        Record(tmp_path / "r")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello\n", "r:1.*no record"),
        ('{"fact":"Looked","time_s":1.0}\n{"fact":"Ended","time_s":1.0,"key":"7","end_time_s":null}\n', "r:2.*'7'"),
        ('{"fact":"Looked","time_s":"x"}\n', "r:1.*no record"),
        ("s3cret-t0ken", "r:1.*no record.*give a new file"),
        ('{"token":"s3cret"}', "r:1.*no record"),
        ('{"fact":"Lies"', "r:1.*no record"),
        ('{"fact":"Looked","time_s":1.0}\nnotes of mine', "r:2.*no record"),
    ],
)
def test_what_is_no_record_is_refused_with_the_line(tmp_path: Path, text: str, words: str):
    path = tmp_path / "r"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read_history(path)
    with pytest.raises(InvalidInput):
        Record(path)
    assert path.read_text() == text, "nothing is done to a file that is somebody else's"
