"""Why a job waits and what would help: examples that a person would check by hand, and the promise kept at random."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.explanation import Explanation
from hal_core.models.job import JobId, JobSpec
from hal_core.models.message import DefineCluster, NodeLost, NodeReported, Submission, Submit
from hal_core.models.node import Cluster, Partition, PartitionName
from hal_core.rules.core import Core
from hal_core.rules.excerpt import QUEUE_MAX, as_it_would_be, excerpt, excerpt_of, record_of
from hal_core.rules.explain import explain, question, verified
from hal_core.rules.forecast import forecast
from hal_engine_backfill.easy import Easy
from tests.support.core_world import ADA, GIB, make_cluster, make_spec

NOW_S = 1000.0


def core_with(cluster: Cluster, *specs: JobSpec) -> Core:
    """The cluster up, the jobs submitted in order and planned once."""
    core = Core(Easy(), "easy")
    core.receive(DefineCluster(cluster), NOW_S)
    for node in cluster.nodes:
        core.receive(NodeReported(node, "boot"), NOW_S)
    core.receive(Submit(tuple(Submission("", ADA, spec) for spec in specs)), NOW_S)
    core.plan(NOW_S)
    return core


def ask(core: Core, job_id: int) -> Explanation:
    record = core.state.jobs[JobId(job_id)]
    return verified(explain(core.state, record, NOW_S), question(core.state, record, NOW_S), Easy(), NOW_S)


def test_the_scarce_resource_is_named_with_its_amount() -> None:
    core = core_with(
        make_cluster(2),
        make_spec(cpus_per_task=1, memory_bytes_per_node=7 * GIB, walltime_s=600.0),
        make_spec(cpus_per_task=1, memory_bytes_per_node=7 * GIB, walltime_s=900.0),
        make_spec(cpus_per_task=1, memory_bytes_per_node=4 * GIB, walltime_s=60.0),
    )
    found = ask(core, 3)
    assert found.constraint is not None
    assert (found.constraint.resource, found.constraint.fitting, found.constraint.needed) == ("memory", 0, 1)
    assert found.start_time_s == NOW_S + 600.0, "when the first of the two ends"
    assert found.suggestions[0].option == "--mem=1024M"
    assert found.suggestions[0].start_time_s == NOW_S


def test_a_shorter_limit_that_fits_the_hole_is_suggested() -> None:
    core = core_with(
        make_cluster(2),
        make_spec(cpus_per_task=4, walltime_s=3600.0),
        make_spec(node_count=2, task_count=2, cpus_per_task=4, walltime_s=600.0),
        make_spec(cpus_per_task=4, walltime_s=7200.0),
    )
    found = ask(core, 3)
    assert found.ahead == (2,)
    assert found.constraint is None, "there is room for it now, but it is promised"
    assert found.start_time_s == NOW_S + 3600.0 + 600.0
    assert [suggestion.option for suggestion in found.suggestions] == ["--time=60"]
    assert found.suggestions[0].start_time_s == NOW_S


def test_another_partition_is_suggested_where_it_would_start() -> None:
    cluster = make_cluster(2)
    left, right = (node.name for node in cluster.nodes)
    partitions = (Partition(PartitionName("all"), (left,), True), Partition(PartitionName("other"), (right,)))
    core = core_with(
        attrs.evolve(cluster, partitions=partitions),
        make_spec(cpus_per_task=4, walltime_s=3600.0),
        make_spec(cpus_per_task=4, walltime_s=60.0),
    )
    options = {suggestion.option: suggestion for suggestion in ask(core, 2).suggestions}
    assert options["--partition=other"].start_time_s == NOW_S


def test_a_node_that_was_chosen_by_name_is_the_reason_if_it_is_not_there() -> None:
    cluster = make_cluster(3)
    first = cluster.nodes[0].name
    core = core_with(
        cluster,
        make_spec(cpus_per_task=4, walltime_s=3600.0),
        make_spec(only_nodes=(first,), walltime_s=60.0),
        make_spec(excluded_nodes=tuple(node.name for node in cluster.nodes[1:]), walltime_s=60.0),
    )
    assert not core.state.jobs[JobId(1)].pending_count
    for job_id, option in ((2, "without --nodelist"), (3, "without --exclude")):
        found = ask(core, job_id)
        assert found.start_time_s is not None
        assert found.start_time_s >= NOW_S + 3600.0
        starts = {suggestion.option: suggestion.start_time_s for suggestion in found.suggestions}
        assert starts[option] == NOW_S, "on another node"
    core.receive(NodeLost(first, "no answer"), NOW_S)
    for job_id, resource in ((2, "nodelist"), (3, "exclude")):
        constraint = ask(core, job_id).constraint
        assert constraint is not None
        assert (constraint.resource, constraint.fitting) == (resource, 0)
        assert first in constraint.text or cluster.nodes[1].name in constraint.text


def test_a_job_behind_one_without_a_limit_has_no_start_time_and_is_told_why() -> None:
    core = core_with(make_cluster(1), make_spec(cpus_per_task=4), make_spec(cpus_per_task=4))
    found = ask(core, 2)
    assert found.start_time_s is None
    assert found.why_not == "it waits for jobs that have no time limit"


def test_held_and_dependent_jobs_are_told_so_and_get_no_advice() -> None:
    specs = (make_spec(cpus_per_task=4, walltime_s=60.0), make_spec(is_held=True))
    core = core_with(make_cluster(1), *specs)
    core.receive(Submit((Submission("", ADA, make_spec(after=[("afterok", 1)])),)), NOW_S)
    assert (ask(core, 2).reason, ask(core, 2).why_not) == ("held", "it is held by ada")
    assert (ask(core, 3).reason, ask(core, 3).why_not) == ("dependency", "it waits for other jobs")
    assert ask(core, 3).suggestions == ()


def test_the_priority_is_a_sum_of_named_terms() -> None:
    core = core_with(make_cluster(1), make_spec(cpus_per_task=4), make_spec(priority=-3))
    assert [(term.name, term.value) for term in ask(core, 2).priority] == [("partition all", 0), ("job", -3)]


def test_a_dry_run_tells_the_start_and_leaves_the_state_alone() -> None:
    core = core_with(make_cluster(1), make_spec(cpus_per_task=4, walltime_s=300.0))
    before = core.state.dump()
    record = record_of(core.state, ADA, make_spec(cpus_per_task=2, walltime_s=60.0), NOW_S)
    part = excerpt_of(core.state, record, NOW_S)
    found = forecast(part, Easy(), NOW_S)
    assert (found.start_time_s, found.nodes) == (NOW_S + 300.0, ("n0",))
    assert core.state.dump() == before


@st.composite
def crowds(draw: st.DrawFn) -> tuple[JobSpec, ...]:
    """Jobs for two nodes of four CPUs, all with limits."""

    def one() -> JobSpec:
        nodes = draw(st.integers(1, 2))
        return make_spec(
            node_count=nodes,
            task_count=nodes,
            cpus_per_task=draw(st.integers(1, 4)),
            memory_bytes_per_node=draw(st.integers(0, 8)) * GIB,
            walltime_s=float(draw(st.integers(1, 40)) * 60),
            is_exclusive=draw(st.booleans()),
        )

    return tuple(one() for _ in range(draw(st.integers(2, 8))))


@settings(deadline=None, max_examples=60)
@given(crowds())
def test_every_waiting_job_has_a_reason_and_every_suggestion_keeps_its_word(specs: tuple[JobSpec, ...]) -> None:
    """A job submitted with the suggested change instead starts when it was told, if nothing else comes in."""
    core = core_with(make_cluster(2), *specs)
    for job_id, record in list(core.state.jobs.items()):
        if not record.pending_count:
            continue
        found = ask(core, job_id)
        assert found.reason in ("resources", "priority")
        assert found.start_time_s is not None
        for suggestion in found.suggestions:
            assert suggestion.start_time_s < found.start_time_s
            if suggestion.option.startswith("--time="):
                changed = attrs.evolve(record.spec, walltime_s=float(suggestion.option[7:]) * 60)
                asked = as_it_would_be(core.state, record, NOW_S, changed)
                whole = forecast(excerpt(core.state, job_id, NOW_S), Easy(), NOW_S, asked)
                assert whole.start_time_s == suggestion.start_time_s


def test_an_excerpt_is_small_however_long_the_queue_is() -> None:
    blocker = make_spec(cpus_per_task=4, walltime_s=60.0)
    core = core_with(make_cluster(1), blocker, *(make_spec(cpus_per_task=4, walltime_s=60.0) for _ in range(2000)))
    part = excerpt(core.state, JobId(2001), NOW_S)
    assert not part.is_whole
    assert len(part.queue) == QUEUE_MAX
    found = ask(core, 2001)
    assert (found.ahead_count, found.ahead, found.start_time_s) == (1999, (2, 3, 4, 5, 6), None)
    assert found.why_not == f"1999 jobs stand before it, and no more than {QUEUE_MAX} are planned ahead"


@pytest.mark.parametrize("down", [("n0",), ("n0", "n1")])
def test_nodes_that_are_not_up_are_the_reason_when_they_are(down: tuple[str, ...]) -> None:
    cluster = make_cluster(2)
    core = Core(Easy(), "easy")
    core.receive(DefineCluster(cluster), NOW_S)
    for node in cluster.nodes:
        if node.name not in down:
            core.receive(NodeReported(node, "boot"), NOW_S)
    spec = make_spec(node_count=2, task_count=2, walltime_s=60.0)
    core.receive(Submit((Submission("", ADA, spec),)), NOW_S)
    core.plan(NOW_S)
    found = ask(core, 1)
    assert found.constraint is not None
    assert found.constraint.resource == "nodes"
    assert found.why_not == "no set of the nodes that are up has what it asks for"
