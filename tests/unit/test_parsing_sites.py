"""`--where`: one variant for each site that holds the job, and what is refused."""

from __future__ import annotations

import pytest

from hal_core.errors import InvalidInput
from hal_core.models.job import JobSpec
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.parsing.context import ParseContext
from hal_core.parsing.request import JobRequest, parse_job

GIB = 2**30
OWN, NORTH, SOUTH = NodeName("n1"), NodeName("s1"), NodeName("t1")
CONTEXT = ParseContext.of_cluster(
    Cluster(
        "test",
        (
            Node(OWN, 4, 8 * GIB),
            Node(NORTH, 64, 64 * GIB, executor="north"),
            Node(SOUTH, 8, 8 * GIB, ("a100",), executor="south"),
        ),
        (
            Partition(PartitionName("brief"), (NORTH,), walltime_s_max=600.0),
            Partition(PartitionName("long"), (NORTH,)),
            Partition(PartitionName("main"), (OWN,), is_default=True),
            Partition(PartitionName("mixed"), (OWN, NORTH)),
            Partition(PartitionName("gpus"), (SOUTH,)),
        ),
    )
)


def spec_of(*options: str) -> JobSpec:
    pairs = tuple((name, text) for name, _, text in (option.partition("=") for option in options))
    return parse_job(JobRequest(options=pairs, command=("true",)), CONTEXT).spec


def problem_of(*options: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        spec_of(*options)
    (problem,) = caught.value.problems
    return str(problem)


def test_anywhere_is_one_partition_of_each_site_and_the_default_one_first():
    spec = spec_of("where=any", "time=5m")
    assert [each.partition for each in spec.variants] == ["main", "brief", "gpus"]
    assert spec.partition == "main"
    assert [spec.in_variant(number).partition for number in range(3)] == ["main", "brief", "gpus"]


def test_a_site_serves_with_the_first_of_its_partitions_that_holds_the_job_or_not_at_all():
    assert [each.partition for each in spec_of("where=any", "time=1h").variants] == ["main", "long", "gpus"]
    assert [each.partition for each in spec_of("where=any", "time=1h", "cpus-per-task=8").variants] == ["long", "gpus"]
    only = spec_of("where=any", "gpus=1")
    assert (only.partition, only.variants) == ("gpus", ())


def test_sites_that_are_named_are_all_there_is_and_must_hold_it():
    assert [each.partition for each in spec_of("where=south,metal").variants] == ["gpus", "main"]
    assert "at metal: " in problem_of("where=metal,south", "gpus=1")


def test_it_goes_with_numbers_of_nodes_and_other_amounts():
    spec = spec_of("where=north,south", "or=cpus-per-task=2")
    assert [(each.partition, each.cpus_per_task) for each in spec.variants] == [
        ("brief", 1),
        ("brief", 2),
        ("gpus", 1),
        ("gpus", 2),
    ]


def test_an_array_may_go_to_either_site_too():
    spec = spec_of("where=any", "array=0-99", "time=5m")
    assert [each.partition for each in spec.variants] == ["main", "brief", "gpus"]
    assert spec.array is not None
    with pytest.raises(InvalidInput, match="at metal: a job with --array runs with one set of amounts"):
        spec_of("where=any", "array=0-3", "or=cpus-per-task=2")


def test_mistakes_are_told_with_what_would_work():
    text = "--where: no site 'nroth' (did you mean 'north'?); there are: any, metal, north, south"
    assert problem_of("where=nroth") == text
    assert problem_of("where=any", "elastic=1").startswith("--where: does not go beside --elastic")
    assert "give only one of --partition and --where" in problem_of("where=any", "partition=main")
    with pytest.raises(InvalidInput) as caught:
        spec_of("where=any", "gpus=4")
    assert all(f"at {site}: " in str(caught.value) for site in ("metal", "north", "south"))
