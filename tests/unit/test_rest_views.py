"""The views against a naive reading of the same state: pages are complete, in order, and never bound to one moment."""

from __future__ import annotations

import attrs
from hypothesis import given, settings, strategies as st

from hal_core.models.job import ArraySpec, End, EndKind, JobId, JobSpec, JobState, Owner
from hal_core.models.message import (
    Cancel,
    DefineCluster,
    Hold,
    JobSelection,
    NodeReported,
    PartsChanged,
    PartStatus,
    Requeue,
    Submission,
    Submit,
)
from hal_core.models.node import PartitionName
from hal_core.models.patterns import expand_pattern, output_paths
from hal_core.models.placement import AttemptKey
from hal_core.models.ranges import RangeSet, parse_ranges
from hal_core.rules.core import Core
from hal_core.rules.output_names import output_path
from hal_core.rules.queue_view import (
    UNFINISHED,
    QueueFilters,
    QueuePosition,
    elements_part,
    queue_counts,
    queue_part,
)
from hal_core.rules.views import JobView, counts_of, element_view, job_detail
from hal_core.rules.waiting import Waiting
from hal_core.testing.fakes import FakeEngine
from tests.support.rest_kernel import CLUSTER, NODES

ALL = frozenset(JobState)
OWNERS = (Owner("ada", 1, 1), Owner("bob", 2, 2))
OWNER = OWNERS[0]


@st.composite
def cores(draw: st.DrawFn) -> Core:
    """A core after a few submissions, plans, ends, holds, cancels and requeues."""
    core = Core(FakeEngine(), "fake")
    core.receive(DefineCluster(CLUSTER), 1.0)
    for node in NODES:
        core.receive(NodeReported(node, "boot"), 1.0)
    for number in range(draw(st.integers(0, 8))):
        array = draw(st.none() | st.builds(ArraySpec, st.just(((0, 6),)), st.none() | st.integers(1, 3)))
        spec = JobSpec(
            "job",
            PartitionName("main"),
            command=("x",),
            array=array,
            is_held=draw(st.booleans()),
            cpus_per_task=draw(st.sampled_from([1, 8])),
            priority=draw(st.integers(-2, 0)),
            output_pattern="%x-%j-%a-%N%%",
        )
        owner = draw(st.sampled_from(OWNERS))
        core.receive(Submit((Submission(f"c{number}", owner, spec),)), 2.0 + number)
        if draw(st.booleans()):
            core.plan(3.0 + number)
        for activity in list(core.state.allocations.values()):
            key = AttemptKey(activity.record.job_id, activity.index, activity.attempt)
            end = draw(st.sampled_from([None, End(EndKind.EXITED, exit_code=0), End(EndKind.SIGNALLED, signal=9)]))
            status = PartStatus(key, 4.0, None if end is None else 5.0, end)
            core.receive(PartsChanged(activity.shares[0].node, (status,)), 6.0 + number)
        for job_id in list(core.state.jobs):
            verb = draw(st.sampled_from([None, None, None, Cancel, Hold, Requeue]))
            if verb is not None:
                core.receive(verb(JobSelection(job_id), "ada"), 7.0 + number)
    return core


@settings(max_examples=60, deadline=None)
@given(cores(), st.integers(1, 4))
def test_pages_of_the_queue_hold_every_job_once_in_order(core: Core, limit: int) -> None:
    state = core.state
    position: QueuePosition | None = QueuePosition()
    seen: list[int] = []
    while position is not None:
        part = queue_part(state, QueueFilters(ALL), position, limit, Waiting(state, 100.0))
        assert len(part.jobs) <= limit
        seen += [job.job_id for job in part.jobs]
        position = part.next
    running = sorted({job_id for job_id, _ in state.allocations})
    queued = [job_id for job_id in state.queue if job_id not in running]
    others = [job_id for job_id in state.jobs if job_id not in running and job_id not in queued]
    assert seen == [*running, *queued, *others, *reversed(state.recent)]


@settings(max_examples=60, deadline=None)
@given(cores(), st.integers(1, 3), st.sampled_from([ALL, UNFINISHED, frozenset({JobState.RUNNING})]))
def test_a_users_own_pages_are_those_of_everybody_without_the_others(
    core: Core, limit: int, states: frozenset[JobState]
) -> None:
    waiting = Waiting(core.state, 100.0)
    everybody = queue_part(core.state, QueueFilters(states), QueuePosition(), 1000, waiting).jobs
    seen: list[JobView] = []
    position: QueuePosition | None = QueuePosition()
    while position is not None:
        part = queue_part(core.state, QueueFilters(states, frozenset({"bob"})), position, limit, waiting)
        seen += part.jobs
        position = part.next
    assert seen == [job for job in everybody if job.user == "bob"]


@settings(max_examples=60, deadline=None)
@given(cores(), st.sets(st.sampled_from(list(JobState)), min_size=1))
def test_filters_choose_what_a_naive_reading_chooses(core: Core, states: set[JobState]) -> None:
    state = core.state
    part = queue_part(state, QueueFilters(frozenset(states)), QueuePosition(), 1000, Waiting(state, 100.0))
    names = {each.value for each in states}
    going_on = {"PENDING", "STAGING", "RUNNING"} & names
    unfinished = {job_id for job_id, record in state.jobs.items() if going_on & set(counts_of(record))}
    ended = {job_id for job_id, record in state.recent.items() if names & set(counts_of(record))}
    assert {job.job_id for job in part.jobs} == unfinished | ended
    assert part.next is None


@settings(max_examples=60, deadline=None)
@given(cores(), st.integers(1, 3))
def test_elements_cover_every_index_once_and_agree_with_the_counts(core: Core, limit: int) -> None:
    for record in (*core.state.jobs.values(), *core.state.recent.values()):
        seen, counts, first = RangeSet(), {}, 0
        while first is not None:
            part = elements_part(record, ALL, first, limit, True)
            for each in part.elements:
                ranges = parse_ranges(each.indices)
                assert not seen.intersection(ranges)
                seen.update(ranges)
                counts[each.state.value] = counts.get(each.state.value, 0) + each.count
                assert (each.state is JobState.PENDING) or each.attempt >= 1
            first = part.next
        assert seen.ranges() == record.elements
        assert counts == counts_of(record)


@settings(max_examples=60, deadline=None)
@given(cores())
def test_counts_agree_and_details_hide_what_is_private(core: Core) -> None:
    state = core.state
    waiting = Waiting(state, 100.0)
    counts: dict[str, int] = {}
    for record in (*state.jobs.values(), *state.recent.values()):
        for name, count in counts_of(record).items():
            counts[name] = counts.get(name, 0) + count
        hidden = job_detail(record, waiting, False, 1)
        assert hidden.command is hidden.environment is hidden.output_path is hidden.working_directory is None
        assert (hidden.reason is None) == (not record.pending_count)
        assert element_view(record, 0, False).output_path is None
    assert queue_counts(state) == counts


@given(st.lists(st.sampled_from(["%j", "%A", "%a", "%x", "%N", "%u", "%%", "/", "b"]), min_size=1), st.booleans())
def test_views_name_the_files_that_nodes_write(parts: list[str], is_array: bool) -> None:
    core = Core(FakeEngine(), "fake")
    core.receive(DefineCluster(CLUSTER), 1.0)
    core.receive(NodeReported(NODES[0], "boot"), 1.0)
    array = ArraySpec(((3, 5),)) if is_array else None
    spec = JobSpec("50%/%N", PartitionName("main"), command=("x",), working_directory="/w%a", array=array)
    spec = attrs.evolve(spec, output_pattern="".join(parts))
    core.receive(Submit((Submission("c", OWNER, spec),)), 2.0)
    core.plan(3.0)
    record, index = core.state.jobs[JobId(1)], 4 if is_array else 0
    written = output_paths(spec, AttemptKey(JobId(1), index, 1), NODES[0].name, OWNER.user)[0]
    assert element_view(record, index, True).output_path == written
    pattern = job_detail(record, Waiting(core.state, 3.0), True, 1).output_pattern
    assert expand_pattern(str(pattern), {"a": str(index), "N": NODES[0].name}) == written


def test_output_paths_are_expanded_as_far_as_known() -> None:
    core = Core(FakeEngine(), "fake")
    core.receive(DefineCluster(CLUSTER), 1.0)
    core.receive(NodeReported(NODES[0], "boot"), 1.0)
    spec = JobSpec("j", PartitionName("main"), command=("x",), working_directory="/w", array=ArraySpec(((3, 5),)))
    core.receive(Submit((Submission("c", OWNER, spec),)), 2.0)
    record = core.state.jobs[JobId(1)]
    assert output_path(record, "%x-%A_%a-%N-%u%%") == "/w/j-1_%a-%N-ada%"
    assert output_path(record, "/o/%j", 4) == "/o/1_4"
    core.plan(3.0)
    assert output_path(record, "%N", 4) == "/w/n1"
    assert output_path(record, "") == ""
