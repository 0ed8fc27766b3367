"""`--nodelist` and `--exclude`: how many nodes a list means, which may serve, and what is refused."""

from __future__ import annotations

import pytest

from hal_core.errors import InvalidInput
from hal_core.models.job import JobSpec
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.parsing.context import ParseContext
from hal_core.parsing.request import JobRequest, parse_job

GIB = 2**30
SMALL = tuple(NodeName(f"n{number}") for number in range(1, 5))
LARGE = tuple(NodeName(f"g{number}") for number in range(1, 3))
NODES = (*(Node(name, 8, 32 * GIB) for name in SMALL), *(Node(name, 64, 256 * GIB) for name in LARGE))
CONTEXT = ParseContext.of_cluster(
    Cluster(
        "test",
        NODES,
        (
            Partition(PartitionName("all"), (*SMALL, *LARGE), is_default=True),
            Partition(PartitionName("small"), SMALL),
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


def test_a_list_is_all_of_the_job() -> None:
    spec = spec_of("nodelist=n[2-3],g1")
    assert (spec.only_nodes, spec.node_count, spec.task_count) == (("n2", "n3", "g1"), 3, 3)
    assert spec_of("w=n[2-3]", "nodes=2", "ntasks=4").task_count == 4
    assert spec.shape().only_nodes == spec.only_nodes


def test_what_is_excluded_does_not_count_as_room() -> None:
    assert spec_of("x=g1", "cpus-per-task=64").excluded_nodes == ("g1",)
    assert "no node of partition 'all' can hold 64 CPUs" in problem_of("exclude=g[1-2]", "cpus-per-task=64")
    assert "has only 3 such nodes" in problem_of("partition=small", "exclude=n4", "nodes=4")
    assert spec_of("partition=small", "exclude=g1", "nodes=4").node_count == 4


def test_a_list_is_all_the_room_there_is() -> None:
    assert "no node of partition 'all' can hold 64 CPUs" in problem_of("nodelist=n1", "cpus-per-task=64")
    assert "has only 1 such node" in problem_of("nodelist=n1,g1", "ntasks-per-node=1", "cpus-per-task=64")


def test_which_nodes_serve() -> None:
    assert [node.name for node in NODES if spec_of("nodelist=n1,g2").shape().takes(node)] == ["n1", "g2"]
    assert [node.name for node in NODES if spec_of("exclude=n[2-4],g2").shape().takes(node)] == ["n1", "g1"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("nodelist=n9",), "--nodelist: no node 'n9'; `hal nodes` lists them"),
        (("exclude=gg1",), "--exclude: no node 'gg1' (did you mean 'g1'?); `hal nodes`"),
        (("nodelist=g1", "partition=small"), "--nodelist: node 'g1' is not in partition 'small'; choose another"),
        (("nodelist=n1,n2", "exclude=n[2-3]"), "--exclude: node 'n2' is in --nodelist; name it in one of them"),
        (("nodelist=n1,n2", "nodes=3"), "--nodelist: the job runs on all of its 2 nodes, and --nodes says otherwise"),
        (("nodelist=n1,n2", "nodes=1-2"), "--nodelist: the job runs on all of its 2 nodes, and --nodes says otherwise"),
        (("nodelist=n1,n1",), "'n1' twice"),
    ],
)
def test_refused(options: tuple[str, ...], told: str) -> None:
    assert told in problem_of(*options)
