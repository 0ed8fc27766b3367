"""What a job's processes are told, and where their output goes. Pure."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core.agent.environment import part_environment, task_environments
from hal_core.agent.options import AgentOptions, Machine
from hal_core.agent.translation import translate
from hal_core.models.component import Component
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import ArraySpec, JobId, JobSpec, Owner, Spread
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.patterns import expand_pattern, output_paths
from hal_core.models.placement import AttemptKey, Share

N1, N2 = NodeName("n1"), NodeName("n2")
NODE = Node(N2, 8, 1 << 34)
SPEC = JobSpec("name", PartitionName("p"), command=("true",), working_directory="/home/u", cpus_per_task=2)
ORDER = LaunchOrder(
    AttemptKey(JobId(12), 0, 2),
    Owner("u", 5, 6),
    SPEC,
    Share(N2, 3, "0-5", memory_bytes=1 << 30),
    ((N1, 2), (N2, 3)),
    1,
)


def told(order: LaunchOrder = ORDER, node: Node = NODE) -> dict[str, str]:
    strings = [string.decode().split("=", 1) for string in part_environment(order, node)]
    found = dict(strings)
    assert len(found) == len(strings)
    return found


def test_hal_and_slurm_names_agree() -> None:
    found = told()
    assert found["HAL_JOB_ID"] == found["SLURM_JOB_ID"] == "12"
    assert found["HAL_NODE_LIST"] == found["SLURM_JOB_NODELIST"] == "n1,n2"
    assert (found["HAL_NODE_COUNT"], found["HAL_NODE_RANK"], found["HAL_TASK_COUNT"]) == ("2", "1", "5")
    assert found["SLURM_TASKS_PER_NODE"] == "2,3"
    assert found["SLURM_CPUS_ON_NODE"] == "6"
    assert (found["HAL_ATTEMPT"], found["SLURM_RESTART_COUNT"]) == ("2", "1")
    assert found["HAL_MEMORY_BYTES"] == str(1 << 30)
    assert found["SLURM_MEM_PER_NODE"] == "1024"
    assert found["HAL_SUBMIT_DIR"] == "/home/u"


def test_processes_of_several_components_know_their_own_and_where_all_are() -> None:
    spec = attrs.evolve(SPEC, components=(Component(2, 6, 1), Component(task_count=4)))
    names = tuple(NodeName(f"n{number}") for number in range(1, 5))
    nodes = tuple(zip(names, (1, 3, 3, 4), strict=True))
    order = attrs.evolve(ORDER, spec=spec, nodes=nodes, addresses=tuple(f"10.0.0.{number}" for number in range(4)))
    found = told(order, attrs.evolve(NODE, name=names[2]))
    assert (found["HAL_COMPONENT"], found["HAL_COMPONENT_NODE_RANK"], found["HAL_COMPONENT_COUNT"]) == ("1", "1", "3")
    assert (found["HAL_NODE_RANK"], found["HAL_NODE_COUNT"], found["HAL_TASK_COUNT"]) == ("2", "4", "11")
    assert found["HAL_CPUS_PER_TASK"] == found["SLURM_CPUS_PER_TASK"] == "1"
    assert told(order, attrs.evolve(NODE, name=names[0]))["HAL_CPUS_PER_TASK"] == "2"
    assert found["HAL_COMPONENT_1_NODE_LIST"] == found["SLURM_JOB_NODELIST_HET_GROUP_1"] == "n2,n3"
    assert [found[f"HAL_COMPONENT_{number}_FIRST_TASK"] for number in range(3)] == ["0", "1", "7"]
    assert [found[f"HAL_COMPONENT_{number}_TASK_COUNT"] for number in range(3)] == ["1", "6", "4"]
    assert [found[f"HAL_COMPONENT_{number}_NODE_COUNT"] for number in range(3)] == ["1", "2", "1"]
    assert found["HAL_COMPONENT_2_NODE_ADDRESSES"] == "10.0.0.3"
    assert found["SLURM_HET_SIZE"] == "3"
    assert not any("COMPONENT" in name or "HET" in name for name in told())


def test_array_variables_are_there_only_for_arrays() -> None:
    assert not any("ARRAY" in name for name in told())
    spec = attrs.evolve(SPEC, array=ArraySpec(((3, 5), (9, 10))))
    found = told(attrs.evolve(ORDER, spec=spec, key=AttemptKey(JobId(12), 4, 1)))
    assert (found["HAL_ARRAY_INDEX"], found["SLURM_ARRAY_TASK_ID"]) == ("4", "4")
    names = ("SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX")
    assert [found[name] for name in names] == ["3", "3", "9"]


def test_gpus_are_shown_or_hidden_where_there_are_any() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in told()
    with_gpus = attrs.evolve(NODE, gpus=("a100",) * 4)
    assert told(node=with_gpus)["CUDA_VISIBLE_DEVICES"] == ""
    given_two = attrs.evolve(ORDER, share=attrs.evolve(ORDER.share, gpus="1-2"))
    assert told(given_two, with_gpus)["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert told(given_two, with_gpus)["HAL_GPUS"] == "1,2"


def ranks(order: LaunchOrder, node: NodeName) -> list[bytes]:
    return [task[0] for task in task_environments(order, attrs.evolve(NODE, name=node))]


def test_processes_are_started_as_often_as_the_spread_says() -> None:
    assert [ranks(ORDER, name) for name in (N1, N2)] == [[b"HAL_TASK_RANK=0"], []]
    per_node = attrs.evolve(ORDER, spec=attrs.evolve(SPEC, spread=Spread.NODE))
    assert [ranks(per_node, name) for name in (N1, N2)] == [[b"HAL_TASK_RANK=0"], [b"HAL_TASK_RANK=1"]]
    per_task = attrs.evolve(ORDER, spec=attrs.evolve(SPEC, spread=Spread.TASK))
    assert ranks(per_task, N2) == [b"HAL_TASK_RANK=2", b"HAL_TASK_RANK=3", b"HAL_TASK_RANK=4"]


VALUES = {"j": "12", "x": "name"}


@given(st.text(st.characters(exclude_characters="%")))
def test_text_without_patterns_stays(text: str) -> None:
    assert expand_pattern(text, VALUES) == text
    assert expand_pattern(text.replace("a", "%%"), VALUES) == text.replace("a", "%")


@given(st.text("%jxqA5 "))
def test_every_pattern_is_expanded_or_refused(text: str) -> None:
    unknown = [letter for letter in re.findall(r"%(.?)", text, re.DOTALL) if letter not in {"%", "j", "x"}]
    if unknown:
        with pytest.raises(ValueError, match="unknown pattern"):
            expand_pattern(text, VALUES)
    else:
        assert expand_pattern(text, VALUES).count("%") == text.count("%%")


def test_unknown_pattern_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown pattern '%q' in 'a%q'; known are %j %x and %%"):
        expand_pattern("a%q", VALUES)


def test_default_output_is_one_file_for_each_element() -> None:
    key = AttemptKey(JobId(12), 3, 1)
    assert output_paths(SPEC, key, N1, "u") == ("/home/u/hal-12.out",) * 2
    array = attrs.evolve(SPEC, array=ArraySpec(((0, 9),)))
    assert output_paths(array, key, N1, "u") == ("/home/u/hal-12_3.out",) * 2
    named = attrs.evolve(array, output_pattern="%j/%x-%N-%u-%a", error_pattern="/tmp/%A", name="a/../b")
    assert output_paths(named, key, N1, "u") == ("/home/u/12_3/a_.._b-n1-u-3", "/tmp/12")


def options(**fields: object) -> AgentOptions:
    return attrs.evolve(AgentOptions(NODE, Path("/s"), Path("/d")), **fields)


MACHINE = Machine(uid=0, cpus=(0, 2, 4, 6, 8, 10, 12, 14), boot_id="b", missing=())


def test_only_the_first_node_of_a_gang_empties_a_file_that_they_share() -> None:
    """Else what the others have written by then is lost."""

    def is_appending(node: Node, **patterns: str) -> bool:
        order = attrs.evolve(ORDER, key=AttemptKey(JobId(12), 0, 1), spec=attrs.evolve(SPEC, **patterns))
        (one,) = translate([order], options(node=node), MACHINE)
        return one.is_appending

    first, second = attrs.evolve(NODE, name=N1), NODE
    assert (is_appending(first), is_appending(second)) == (False, True)
    own = "out.%N"
    assert (is_appending(first, output_pattern=own), is_appending(second, output_pattern=own)) == (False, False)
    assert is_appending(second, output_pattern=own, error_pattern="errors"), "the errors of both are in one file"


def test_order_becomes_what_the_spawner_needs() -> None:
    one, two = translate([ORDER, attrs.evolve(ORDER, key=AttemptKey(JobId(12), 0, 3))], options(pids_max=9), MACHINE)
    assert one.program is two.program
    assert (one.key, two.key) == ("12.0.2", "12.0.3")
    assert one.cpus == [0, 2, 4, 6, 8, 10]
    assert (one.cpu_quota, one.memory_bytes, one.pids_max) == (6, 1 << 30, 9)
    assert one.is_appending
    assert one.output_path == b"/home/u/hal-12.out"


def test_quota_is_for_other_users_unless_the_administrator_says_so() -> None:
    mine = attrs.evolve(ORDER, owner=Owner("root", 0, 0))
    assert translate([mine], options(), MACHINE)[0].cpu_quota == 0
    assert translate([mine], options(does_limit_cpus=True), MACHINE)[0].cpu_quota == 6
    assert translate([ORDER], options(does_limit_cpus=False), MACHINE)[0].cpu_quota == 0


def test_nothing_is_bound_where_cpus_are_only_declared() -> None:
    (order,) = translate([ORDER], options(), attrs.evolve(MACHINE, cpus=()))
    assert (order.cpus, order.cpu_quota) == ([], 0)


def test_what_cannot_be_carried_out_is_recorded_and_not_dropped() -> None:
    elsewhere = attrs.evolve(ORDER, nodes=((N1, 1),))
    wrong = attrs.evolve(ORDER, spec=attrs.evolve(SPEC, output_pattern="%q"))
    nul = attrs.evolve(ORDER, spec=attrs.evolve(SPEC, command=("a\0b",)))
    faults = [order.fault for order in translate([elsewhere, wrong, nul], options(), MACHINE)]
    assert "not for n2" in faults[0]
    assert "unknown pattern" in faults[1]
    assert "NUL byte" in faults[2]
