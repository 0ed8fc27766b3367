"""`--and`, the colon on the command line and `#SBATCH hetjob`: further nodes of one job, and what is refused."""

from __future__ import annotations

import attrs
import pytest

from hal_core.cli.usage import UsageError
from hal_core.cli.words import split_words
from hal_core.errors import InvalidInput
from hal_core.models.component import Component
from hal_core.models.job import JobSpec
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.parsing.context import ParseContext
from hal_core.parsing.request import JobRequest, parse_job

GIB = 2**30
NODES = (
    Node(NodeName("g1"), 8, 32 * GIB, ("a100", "a100"), features=("ib",)),
    *(Node(NodeName(f"c{number}"), 4, 8 * GIB, features=("ib",)) for number in range(3)),
    Node(NodeName("s1"), 64, 64 * GIB, executor="slurm"),
)
CONTEXT = ParseContext.of_cluster(
    Cluster(
        "test",
        NODES,
        (
            Partition(PartitionName("main"), tuple(node.name for node in NODES[:4]), is_default=True),
            Partition(PartitionName("far"), (NODES[4].name,)),
        ),
    )
).with_stores(Cluster("test", NODES, (Partition(PartitionName("far"), (NODES[4].name,)),)), {"metal"})


def spec_of(*options: str, script: str = "") -> JobSpec:
    pairs = tuple((name, text) for name, _, text in (option.partition("=") for option in options))
    request = JobRequest(options=pairs, script=script, script_name="job.sh", command=() if script else ("true",))
    return parse_job(request, CONTEXT).spec


def problems_of(*options: str, script: str = "") -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        spec_of(*options, script=script)
    return [str(problem) for problem in caught.value.problems]


def test_a_component_is_what_it_names_and_else_as_if_nobody_had_named_anything():
    spec = spec_of("gpus=1", "cpus-per-task=8", "mem=16G", "and=nodes=3,ntasks-per-node=2,mem-per-cpu=1G,constraint=ib")
    assert (spec.node_count, spec.gpus_per_node, spec.cpus_per_task) == (1, 1, 8)
    (workers,) = spec.components
    assert workers == Component(3, 6, 1, 2 * GIB, features=("ib",))
    first, second = spec.shape().parts
    assert (first.cpus, first.gpus, first.memory_bytes, first.also) == (8, 1, 16 * GIB, ())
    assert (second.node_count, second.cpus, second.memory_bytes, second.features) == (3, 2, 2 * GIB, ("ib",))
    assert (spec.total_nodes, spec.total_tasks, spec.total_cpus, spec.total_gpus) == (4, 7, 14, 1)


def test_several_components_are_several_options_or_have_a_colon_between():
    apart = spec_of("and=nodes=2", "and=gpus-per-node=2")
    assert [(each.node_count, each.gpus_per_node) for each in apart.components] == [(2, 0), (1, 2)]
    assert spec_of("and=nodes=2 : gpus-per-node=2").components == apart.components


def test_a_job_with_one_component_is_what_it_always_was():
    assert spec_of("nodes=2").components == ()
    assert spec_of("nodes=2").shape().parts == (spec_of("nodes=2").shape(),)


def test_hetjob_lines_of_a_slurm_script_are_components():
    script = (
        "#!/bin/sh\n#SBATCH --job-name=both -N1 --gpus=1\n#SBATCH hetjob\n#SBATCH -N 2 -c 4\n#SBATCH --mem=1G\n"
        "#SBATCH hetjob\n#SBATCH --ntasks=1\ntrue\n"
    )
    spec = spec_of(script=script)
    assert (spec.name, spec.gpus_per_node) == ("both", 1)
    assert spec.components == (Component(2, 2, 4, GIB), Component(1, 1, 1))
    problems = problems_of(script="#!/bin/sh\n#SBATCH hetjob\n#SBATCH --time=10\ntrue\n")
    before = "write it before the first `#SBATCH hetjob`"
    assert problems == [f"job.sh:3: --time: is for the whole job, not for some of its nodes; {before}"]


def sbatch(*lines: str) -> str:
    return "".join(["#!/bin/sh\n", *(f"#SBATCH {line}\n" for line in lines), "true\n"])


def test_behind_hetjob_options_are_read_as_elsewhere():
    lines = ("-n1", "hetjob", "--tasks-per-node=2", "--gres=gpu:2", "--constraint=ib,ib")
    assert spec_of(script=sbatch(*lines)).components == (Component(1, 2, 1, gpus_per_node=2, features=("ib",)),)


def test_each_mistake_behind_hetjob_is_at_its_own_line():
    script = sbatch("hetjob", "--mem=1G,cpus-per-task=2", "--node=1", "-p main", "hetjob", "hetjob --nodes=1")
    (head,) = problems_of(script=script)
    assert head.startswith("job.sh:7: 'hetjob --nodes=1' is not supported: write further nodes with --and")
    mem, node, partition, empty = problems_of(script=script.replace("#SBATCH hetjob --nodes=1\n", ""))
    assert mem.startswith("job.sh:3: --mem: '1G,cpus-per-task=2' is not an amount of memory")
    assert node.startswith("job.sh:4: --node: is not an option that HAL knows (did you mean 'nodes'?)")
    assert partition.startswith("job.sh:5: -p: is for the whole job")
    assert empty == "job.sh:6: hetjob: names no further nodes; write behind it #SBATCH --nodes=8"
    (rivals,) = problems_of(script=sbatch("hetjob", "-N2", "hetjob", "--mem=1G", "--mem-per-cpu=1G"))
    assert rivals == "job.sh:4: hetjob: give only one of mem and mem-per-cpu"
    (packjob,) = problems_of(script=sbatch("packjob", "-N1"))
    assert packjob.startswith("job.sh:2: 'packjob' is not supported: write further nodes with --and")


def test_values_of_a_component_may_have_commas():
    words = ["-c1", ":", "--constraint", "ib,ib", "-N", "2", "--tasks-per-node=2", "--gres=gpu:0", "--", "true"]
    split = split_words(words, {}, {})
    (features,) = spec_of(*("=".join(option) for option in split.options)).components
    assert features == Component(2, 4, 1, features=("ib",))
    with pytest.raises(UsageError, match="--mem: '1G,cpus-per-task=2' holds an amount of another name"):
        split_words([":", "--mem", "1G,cpus-per-task=2"], {}, {})


def test_the_command_line_has_a_colon_between_components():
    split = split_words(["-N1", "-G", "1", ":", "-N8", "--cpus-per-task=4", ":", "--mem", "1G", "job.sh", ":"], {}, {})
    assert split.options == [
        ["nodes", "1"],
        ["gpus", "1"],
        ["and", "nodes=8,cpus-per-task=4"],
        ["and", "mem=1G"],
    ]
    assert split.rest == ["job.sh", ":"]
    with pytest.raises(UsageError, match="--wrap is for the whole job, not for some of its nodes; write it before"):
        split_words([":", "-N8", "--wrap", "true"], {}, {})


def test_nodes_that_only_a_pool_would_rent_do_not_count():
    context = attrs.evolve(CONTEXT, rented=frozenset({NODES[3].name}))
    request = JobRequest(command=("true",), options=(("nodes", "2"), ("and", "nodes=2")))
    assert parse_job(request, CONTEXT).spec.total_nodes == 4
    with pytest.raises(InvalidInput, match="need 4 different nodes"):
        parse_job(request, context)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["and=node=2"],
            "--and: 'node=2' is no amount of a component, such as cpus-per-task=16 (did you mean 'nodes'?)",
        ),
        (["and=nodes=x"], "--and: nodes: "),
        (["and=mem=1G,mem-per-cpu=1G"], "--and: give only one of mem and mem-per-cpu"),
        (["and=gpus=1,gpus-per-node=2"], "--and: give only one of gpus and gpus-per-node"),
        (["and=nodes=2,exclusive"], "--and: nodes: 'exclusive' is not a whole number"),
        (["and=nodes=1,2"], "--and: component 1: nodes: a component has one number of nodes"),
        (["and=gres=lic:1,gpu:1"], "component 1: gres: other resources than GPUs are those of the first component"),
        (["and="], "--and: needs a value"),
        (["and=nodes=1-2"], "--and: component 1: nodes: a component has one number of nodes, such as nodes=8"),
        (["and=cpus-per-task=9"], "--and: component 1: cpus-per-task: "),
        (["and=nodes=1", "and=gpus=3"], "--and: component 2: gpus: "),
        (["and=nodes=1", "array=0-3"], "fixed amounts; leave out --array, or --and"),
        (["and=nodes=1", "nodes=1-2"], "leave out --nodes, or --and"),
        (["and=nodes=1", "elastic=", "array=0-3"], "leave out --array and --elastic, or --and"),
        (["and=nodes=1", "or=gpus=1"], "leave out --or, or --and"),
        (["and=nodes=1", "nodelist=c0"], "does not go with --nodelist, which HAL knows for nodes of one kind only"),
        (["and=nodes=1", "deadline=now+1hour", "time=10"], "does not go with --deadline"),
        (["and=nodes=1"] * 8, "8 components beside the first; at most 7 are allowed"),
        (
            ["gpus=1", "and=gpus=1"],
            "need 2 different nodes at the same time, which partition 'main' has not: 1 could serve component 0, 1",
        ),
        (["nodes=3", "and=nodes=2"], "need 5 different nodes"),
        (["partition=far", "and=nodes=1"], "another scheduler gives out nodes of partition far"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_given(options: list[str], text: str):
    (problem,) = problems_of(*options)
    assert text in problem
    assert problem.startswith("--and: ")
