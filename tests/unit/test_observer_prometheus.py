"""The Prometheus observer: after any history the figures add up, and labels stay few."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given, strategies as st
from prometheus_client.parser import text_string_to_metric_families

from hal_core import (
    ArraySpec,
    AttemptKey,
    Cluster,
    ClusterDefined,
    End,
    EndKind,
    JobEnded,
    JobId,
    JobPlaced,
    JobRequeued,
    JobSpec,
    JobSubmitted,
    Node,
    NodeDrained,
    NodeJoined,
    NodeName,
    NodeSuspected,
    NodeWentDown,
    ObserverDisabled,
    Owner,
    PartitionName,
    PartStarted,
    Planned,
    Prediction,
    RunTimesPredicted,
    Share,
)
from hal_core.models.message import Cancel, DrainNode, JobSelection, NodeSilent, Requeue, Submission, Submit
from hal_core.rules.standing import standing_of
from hal_core.rules.state import State
from hal_observer_prometheus.observer import PrometheusObserver
from hal_observer_prometheus.tracker import Tracker
from tests.support.rest_kernel import RestKernel

N1 = NodeName("n1")
OWNER = Owner("u", 1000, 1000)
DONE = End(EndKind.EXITED, exit_code=0)
GAUGES = ("hal_jobs", "hal_nodes", "hal_nodes_drained", "hal_journal_sequence")


def submitted(job_id, time_s=0.0, size=None):
    array = ArraySpec(((0, size),)) if size else None
    spec = JobSpec(name="x", partition=PartitionName("all"), command=("true",), array=array)
    return JobSubmitted(time_s, JobId(job_id), f"c{job_id}", OWNER, spec)


def placed(job_id, start=0, stop=1, attempt=1):
    return JobPlaced(1.0, JobId(job_id), attempt, ((start, stop),), (Share(N1, 1, "0"),))


def started(job_id, index=0, time_s=2.0, attempt=1, node=N1):
    return PartStarted(time_s, AttemptKey(JobId(job_id), index, attempt), node, time_s)


def ended(job_id, start=0, stop=1, end=DONE, attempt=1):
    return JobEnded(3.0, JobId(job_id), ((start, stop),), attempt, end, 2.0, 3.0)


def samples(observer):
    families = text_string_to_metric_families(observer.render().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


async def scrape(*events, first_sequence=1):
    observer = PrometheusObserver.from_options({})
    await observer.record(first_sequence, events)
    return samples(observer)


async def test_a_job_from_submission_to_end():
    found = await scrape(
        submitted(1), submitted(2, size=1_000_000), placed(1), started(1, time_s=7.0), first_sequence=9
    )
    assert found["hal_jobs_submitted_total",] == 1_000_001
    assert found["hal_jobs_started_total",] == 1
    assert found["hal_jobs", "pending"] == 1_000_000
    assert found["hal_jobs", "running"] == 1
    assert found["hal_job_wait_seconds_sum",] == 7.0
    assert found["hal_journal_sequence",] == 12
    found = await scrape(submitted(1), placed(1), started(1), ended(1))
    assert found["hal_jobs_ended_total", "COMPLETED", "exited"] == 1
    assert found["hal_jobs", "running"] == found["hal_jobs", "pending"] == found["hal_jobs", "staging"] == 0


async def test_a_gang_starts_once_and_a_requeue_waits_anew():
    key = AttemptKey(JobId(1), 0, 1)
    requeued = JobRequeued(10.0, key, "root", End(EndKind.CANCELLED))
    gang = [submitted(1), placed(1), started(1), started(1, node=NodeName("n2"))]
    again = [requeued, placed(1, attempt=2), started(1, attempt=2, time_s=15.0)]
    found = await scrape(*gang, *again)
    assert found["hal_jobs_started_total",] == 2
    assert found["hal_job_wait_seconds_sum",] == 2.0 + 5.0
    assert (found["hal_jobs", "running"], found["hal_jobs", "pending"]) == (1, 0)


async def test_an_array_that_is_cancelled_before_it_ran():
    cancelled = End(EndKind.CANCELLED, by="u")
    found = await scrape(submitted(1, size=100), placed(1, 0, 2), started(1), ended(1, 2, 100, cancelled))
    assert found["hal_jobs_ended_total", "CANCELLED", "cancelled"] == 98
    assert [found["hal_jobs", phase] for phase in ("pending", "staging", "running")] == [0, 1, 1]


async def test_nodes_by_status():
    cluster = Cluster("c", tuple(Node(NodeName(name), 1, 1) for name in ("n1", "n2", "n3", "n4")), ())
    joined = [NodeJoined(1.0, cluster.nodes[number], "boot") for number in range(3)]
    changes = [NodeSuspected(2.0, NodeName("n2")), NodeWentDown(3.0, NodeName("n3"), ""), NodeDrained(4.0, N1, "", "")]
    found = await scrape(ClusterDefined(0.0, cluster), *joined, *changes)
    assert {status: found["hal_nodes", status] for status in ("unknown", "up", "suspect", "down")} == dict.fromkeys(
        ("unknown", "up", "suspect", "down"), 1
    )
    assert found["hal_nodes_drained",] == 1


async def test_jobs_from_before_its_time_do_not_make_figures_negative():
    found = await scrape(placed(1), started(1), ended(1), JobRequeued(1.0, AttemptKey(JobId(1), 0, 1), "", DONE))
    assert min(value for (name, *_), value in found.items() if name == "hal_jobs") == 0
    assert found["hal_jobs_ended_total", "COMPLETED", "exited"] == 1


def lively_events():
    """A journal in which everything happens that the gauges tell of."""
    kernel = RestKernel()

    def receive(message):
        kernel.tell(message)

    spec = JobSpec(name="x", partition=PartitionName("main"), command=("x",), cpus_per_task=8)
    array = attrs.evolve(spec, array=ArraySpec(((0, 6),)))
    receive(Submit(tuple(Submission(f"c{number}", OWNER, each) for number, each in enumerate((spec, array, spec)))))
    kernel.plan()
    kernel.start(1)
    receive(DrainNode(NodeName("n3"), "disk", "root"))
    kernel.start(2, 0)
    kernel.end(1)
    kernel.end(2, 0)
    receive(Requeue(JobSelection(JobId(1)), "root"))
    receive(Requeue(JobSelection(JobId(2), ((0, 1),)), "root"))
    kernel.plan()
    receive(NodeSilent(NodeName("n2")))
    receive(Cancel(JobSelection(JobId(3)), "root"))
    return kernel.journal.events


async def test_gauges_of_a_restarted_daemon_are_those_of_one_that_saw_it_all():
    events = lively_events()
    whole = await scrape(*events)
    gauges = {name: value for name, value in whole.items() if name[0] in GAUGES}
    assert gauges["hal_jobs", "pending"] > 0
    assert gauges["hal_jobs", "staging"] > 0
    for cut in range(len(events) + 1):
        state = State()
        for event in events[:cut]:
            state.apply(event)
        observer = PrometheusObserver.from_options({})
        observer.begin(standing_of(state))
        await observer.record(cut + 1, events[cut:])
        found = samples(observer)
        assert {name: found[name] for name in gauges} == gauges, f"begun after event {cut}"


@given(st.lists(st.sampled_from(["place", "start", "requeue", "end"]), max_size=20), st.integers(1, 5))
def test_phases_always_add_up_to_what_is_unfinished(steps, size):
    """Any order of legal steps on an array, element after element."""
    tracker = Tracker()
    tracker.submitted(submitted(1, size=size))
    state = dict.fromkeys(range(size), "pending")
    for step in steps:
        wanted = {"place": ("pending",), "start": ("staging",), "requeue": ("staging", "running"), "end": tuple("x")}
        allowed = wanted[step] if step != "end" else ("pending", "staging", "running")
        index = next((index for index, phase in state.items() if phase in allowed), None)
        if index is None:
            continue
        key = AttemptKey(JobId(1), index, 1)
        match step:
            case "place":
                tracker.placed(placed(1, index, index + 1))
                state[index] = "staging"
            case "start":
                wait_s = tracker.started(started(1, index))
                assert wait_s is not None
                assert wait_s >= 0
                assert math.isfinite(wait_s)
                state[index] = "running"
            case "requeue":
                tracker.requeued(JobRequeued(4.0, key, "", DONE))
                state[index] = "pending"
            case _:
                tracker.ended(ended(1, index, index + 1))
                del state[index]
        counts = (tracker.pending_count, tracker.staging_count, tracker.running_count)
        phases = list(state.values())
        assert counts == tuple(phases.count(phase) for phase in ("pending", "staging", "running"))


async def test_predictions_are_scored_when_an_element_has_run():
    said = Prediction(0.5, 0.9, 2.0)
    predicted = RunTimesPredicted(1.0, "ml", ((JobId(1), said), (JobId(2), said), (JobId(3), said)))
    late = attrs.evolve(ended(2), end_time_s=9.0)
    failed = ended(3, end=End(EndKind.EXITED, exit_code=1))
    found = await scrape(submitted(1), submitted(2), submitted(3), predicted, ended(1), late, failed)
    assert found["hal_predictions_total", "within"] == 1
    assert found["hal_predictions_total", "above"] == 1
    assert found["hal_prediction_error_seconds_count",] == 2
    assert found["hal_prediction_error_seconds_sum",] == pytest.approx(0.1 + 6.1)


async def test_what_the_engine_proposed_and_who_was_switched_off_is_counted():
    plan = Planned(1.0, "hal", 1, 5, 3, 1, ((JobId(1), 9.0), (JobId(2), 9.0)))
    found = await scrape(plan, plan, ObserverDisabled(2.0, "log", "late"))
    assert found["hal_plan_starts_total",] == 6
    assert found["hal_plan_refused_total",] == 2
    assert found["hal_plan_promises",] == 2
    assert found["hal_observers_disabled_total",] == 1
