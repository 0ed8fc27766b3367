"""`preempt_mode: suspend` is refused where an executor cannot do that."""

from __future__ import annotations

import pytest

from hal_core.config.reading import parse_configuration
from hal_core.config.suspending import check_suspending
from hal_core.errors import InvalidInput

NODES = """
executors: {metal: {}, slurm: {}}
nodes:
  - {names: [a1], cpus: 4, memory: 1G}
  - {names: [b1], cpus: 4, memory: 1G, executor: slurm}
"""


def cluster_of(text):
    return parse_configuration(NODES + text, "hal.yaml").cluster


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("partitions: [{name: p, nodes: 'a1'}, {name: q, nodes: 'b1', preempt_mode: suspend}]", "partitions[1]"),
        ("partitions: [{name: p}]\nqos: [{name: low, preempt_mode: suspend}]", "qos[0]"),
    ],
)
def test_the_field_and_the_node_are_named(text, place):
    with pytest.raises(InvalidInput) as caught:
        check_suspending(cluster_of(text), {"metal"})
    assert [each.place for each in caught.value.problems] == [f"{place}.preempt_mode"]
    assert "executor 'slurm' of node b1 cannot suspend jobs; requeue or cancel would work" in str(caught.value)


def test_it_may_be_asked_of_those_who_can():
    text = "partitions: [{name: p, nodes: 'a1', preempt_mode: suspend}, {name: q, nodes: 'b1'}]"
    check_suspending(cluster_of(text), {"metal"})
    check_suspending(cluster_of(text.replace("'b1'}", "'b1', preempt_mode: suspend}")), {"metal", "slurm"})


def test_an_idle_job_is_not_reclaimed_by_suspending_it():
    with pytest.raises(InvalidInput, match=r"idle.reclaim_mode: 'suspend' would leave the job where it is"):
        cluster_of("partitions: [{name: p}]\nidle: {reclaim: 1h, reclaim_mode: suspend}")
