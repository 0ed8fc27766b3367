"""A job request to a JobSpec: precedence, defaults, layout, admission, and all problems at once."""

import contextlib
import time

import attrs
import pytest

from hal_core.errors import InvalidInput
from hal_core.models.job import ArraySpec, Dependency, DependencyKind, JobId, Spread
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.topology import Level, Link, Topology
from hal_core.parsing.context import ParseContext
from hal_core.parsing.request import JobRequest, parse_job

GIB = 2**30
NOW_S = 1_700_000_000.0
SMALL = tuple(Node(NodeName(f"n{i}"), 8, 32 * GIB, features=("ib",)) for i in range(4))
LARGE = tuple(
    Node(NodeName(f"g{i}"), 64, 256 * GIB, ("a100",) * 4, (("licence_x", 2),), ("ib", "ssd")) for i in range(2)
)
CLUSTER = Cluster(
    "test",
    (*SMALL, *LARGE),
    (
        Partition(
            PartitionName("main"),
            tuple(node.name for node in SMALL),
            is_default=True,
            walltime_s_max=86_400.0,
            walltime_s_default=3600.0,
            memory_bytes_per_cpu_default=2 * GIB,
        ),
        Partition(PartitionName("gpu"), tuple(node.name for node in LARGE)),
        Partition(PartitionName("all"), tuple(node.name for node in (*SMALL, *LARGE)), walltime_s_max=7200.0),
        Partition(PartitionName("empty"), ()),
    ),
    topology=Topology((Level("rack", Link(1e-6, 25e9)),), Link(1e-3, 1e9)),
)
CONTEXT = ParseContext.of_cluster(CLUSTER, NOW_S)


def spec_of(*options, context=CONTEXT, **fields):
    """The spec of a command with options given as `name=text` or `name`."""
    fields.setdefault("command", () if "script" in fields else ("/bin/true",))
    pairs = tuple((name, text) for name, _, text in (option.partition("=") for option in options))
    return parse_job(JobRequest(options=pairs, **fields), context).spec


def problems_of(*options, **fields):
    with pytest.raises(InvalidInput) as caught:
        spec_of(*options, **fields)
    return [str(problem) for problem in caught.value.problems]


def script(*lines):
    return {"script": "\n".join(("#!/bin/sh", *lines, "hostname", "")), "script_name": "job.sh"}


def test_defaults_come_from_the_partition():
    spec = spec_of()
    assert spec.name == "true"
    assert spec.partition == "main"
    assert spec.walltime_s == 3600
    assert spec.memory_bytes_per_node == 2 * GIB
    assert (spec.node_count, spec.task_count, spec.cpus_per_task) == (1, 1, 1)
    assert spec.output_pattern == "hal-%j.out"
    assert spec.environment == ()
    assert spec_of("partition=gpu").memory_bytes_per_node == 0
    assert spec_of("partition=gpu").walltime_s is None
    assert spec_of("partition=all").walltime_s == 7200, "without a default the longest limit counts"


def test_a_script_runs_once_and_a_command_once_for_each_task():
    assert spec_of().spread is Spread.TASK
    assert spec_of(**script()).spread is Spread.JOB
    assert spec_of("wrap=hostname | wc", command=()).spread is Spread.JOB
    assert spec_of("spread=node").spread is Spread.NODE


def test_every_field_is_filled():
    spec = spec_of(
        "job-name=a name", "partition=gpu", "time=1:30", "nodes=2", "ntasks=4", "c=2", "mem=8G",
        "gpus-per-node=a100:2", "gres=licence_x:1", "constraint=ib&ssd", "exclusive", "chdir=/data", "export=ALL,B=2",
        "input=in.txt", "output=%x.out", "error=%x.err", "open-mode=append", "array=0-9%2",
        "dependency=afterok:1?afterok:2", "hold", "requeue", "begin=now+1hour", "nice", "spread=task", "kill-grace=1m",
        "inputs=a,s3://b/c", "outputs=x=y,z@2=out/",
        "account=physics", "comment=for the paper", "topology=rack:r3=required", "comm=light",
        "nodelist=g[1,0]", "exclude=n0", "reservation=course", "qos=short", "licenses=matlab:2", "checkpoint-every=30m",
        "deadline=now+8hours", "value-per-hour=0.5", "mail-type=END,FAIL", "mail-user=ada@example.org",
        environment=("A=1", "B=1"), working_directory="/home/ada", client_id="x",
        context=attrs.evolve(CONTEXT, mail_domain=""),
    )  # fmt: skip
    assert attrs.asdict(spec, recurse=False) == {
        "name": "a name",
        "partition": "gpu",
        "script": "",
        "command": ("/bin/true",),
        "arguments": (),
        "node_count": 2,
        "task_count": 4,
        "cpus_per_task": 2,
        "memory_bytes_per_node": 8 * GIB,
        "gpus_per_node": 2,
        "gpu_type": "a100",
        "generic_per_node": (("licence_x", 1),),
        "features": ("ib", "ssd"),
        "is_exclusive": True,
        "walltime_s": 90.0,
        "working_directory": "/data",
        "environment": ("A=1", "B=2"),
        "input_path": "in.txt",
        "output_pattern": "%x.out",
        "error_pattern": "%x.err",
        "does_append": True,
        "array": ArraySpec(((0, 10),), 2),
        "dependencies": (
            Dependency(DependencyKind.AFTEROK, JobId(1)),
            Dependency(DependencyKind.AFTEROK, JobId(2)),
        ),
        "needs_all_dependencies": False,
        "priority": -100,
        "begin_time_s": NOW_S + 3600,
        "begin": "now+1hour",
        "is_held": True,
        "spread": Spread.TASK,
        "kill_grace_s": 60.0,
        "inputs": ("a", "s3://b/c"),
        "outputs": ("x=y", "z@2=out/"),
        "account": "physics",
        "comment": "for the paper",
        "mail_types": ("END", "FAIL"),
        "mail_user": "ada@example.org",
        "components": (),
        "reservation": "course",
        "checkpoint_s": 1800.0,
        "can_requeue": True,
        "communication": 0.1,
        "level": "rack",
        "domain": "r3",
        "is_level_required": True,
        "gpu_milli": 0,
        "qos": "short",
        "alternatives": (),
        "elastic_weight": 0,
        "variants": (),
        "variant": 0,
        "has_auto_memory": False,
        "first_memory_bytes": 0,
        "licences": (("matlab", 2),),
        "only_nodes": ("g1", "g0"),
        "excluded_nodes": ("n0",),
        "deadline_time_s": NOW_S + 8 * 3600,
        "deadline": "now+8hours",
        "value_per_hour": 0.5,
    }


def test_what_speaks_against_a_deadline_is_told():
    request = JobRequest(command=("/bin/true",), options=(("deadline", "now+1hour"), ("time", "2h")))
    texts = [each.text for each in parse_job(request, CONTEXT).warnings]
    assert texts == [
        "changes nothing here: this cluster rents no nodes",
        "is earlier than the time limit lets the job run",
    ]


def test_memory_can_be_left_to_hal_up_to_a_most():
    assert spec_of("auto-memory", "mem=8G").has_auto_memory
    assert spec_of("auto-memory", "mem=8G").memory_bytes_per_node == 8 * GIB
    assert problems_of("auto-memory", "mem=0") == ["--auto-memory: needs --mem, the most that the job may get"]
    assert problems_of("auto-memory", "mem=1G", "array=0-3") == [
        "--auto-memory: is not for job arrays, whose elements have one size: leave it away"
    ]
    assert problems_of("auto-memory", "mem=1G", "nodes=1-2") == [
        "--auto-memory: is for jobs with one number of nodes and no --or: leave it away"
    ]


def test_how_near_nodes_are_to_be():
    assert spec_of("comm=0.25").communication == 0.25
    assert spec_of("topology=rack").communication == 0.4, "who names a level communicates"
    assert spec_of("topology=rack", "comm=none").communication == 0.0
    assert not spec_of("topology=rack=preferred").is_level_required
    assert problems_of("topology=rck") == ["--topology: no level 'rck' (did you mean 'rack'?); there are: rack"]
    assert problems_of("topology=rack=must") == [
        "--topology: 'rack=must': behind = stands required or preferred, not 'must'"
    ]
    assert problems_of("comm=much")[0].startswith(
        "--comm: 'much' is not known; it can be none, light, heavy or a share"
    )
    assert "is not a share" in problems_of("comm=1.5")[0]
    flat = ParseContext.of_cluster(attrs.evolve(CLUSTER, topology=None))
    assert "describes no topology" in problems_of("topology=rack", context=flat)[0]


def test_the_command_line_wins_over_the_script_and_later_over_earlier():
    assert spec_of("n=3", **script("#HAL -n 1", "#SBATCH --ntasks=2")).task_count == 3
    assert spec_of(**script("#HAL -n 1", "#SBATCH --ntasks=2")).task_count == 2
    assert spec_of("time=1", "t=2").walltime_s == 120


def test_a_rival_option_of_the_command_line_displaces_the_scripts():
    assert spec_of("mem-per-cpu=1G", **script("#HAL --mem=8G")).memory_bytes_per_node == GIB
    assert spec_of("p=gpu", "gpus=2", **script("#HAL --gpus-per-node=4")).gpus_per_node == 2
    assert "give only one of --mem and --mem-per-cpu" in problems_of("mem=1G", "mem-per-cpu=1G")[0]
    assert "only one of them" in problems_of("p=gpu", "gres=gpu:1", "gpus=1")[0]


def test_time_limits_and_the_partition():
    assert spec_of("time=0").walltime_s == 86_400, "no limit means the partition's"
    assert spec_of("time=UNLIMITED", "p=gpu").walltime_s is None
    assert problems_of("time=2-0") == ["--time: 2-00:00:00 is more than partition 'main' allows; at most 1-00:00:00"]


@pytest.mark.parametrize(
    ("options", "nodes", "tasks"),
    [
        (["ntasks=8"], 1, 8), (["ntasks=9"], 2, 9), (["nodes=3"], 3, 3), (["nodes=2", "ntasks=5"], 2, 5),
        (["ntasks-per-node=4"], 1, 4), (["nodes=2", "ntasks-per-node=4"], 2, 8),
        (["ntasks=8", "ntasks-per-node=2"], 4, 8),
        (["ntasks=4", "c=8"], 4, 4), (["ntasks=4", "mem-per-cpu=16G"], 2, 4), (["p=all", "ntasks=32"], 4, 32),
        (["p=all", "ntasks=64"], 1, 64), (["p=all", "ntasks=2", "c=40"], 2, 2),
        (["p=all", "ntasks=16", "C=ssd"], 1, 16),
        (["p=gpu", "ntasks=4", "gpus=8"], 2, 4), (["p=gpu", "ntasks=8", "gpus-per-task=1"], 2, 8),
        (["p=gpu", "ntasks=3", "gpus=4"], 1, 3), (["p=gpu", "nodes=2", "gpus-per-task=2"], 2, 2),
    ],
)  # fmt: skip
def test_nodes_and_tasks(options, nodes, tasks):
    spec = spec_of(*options)
    assert (spec.node_count, spec.task_count) == (nodes, tasks)


def test_amounts_for_each_node():
    assert spec_of("nodes=2", "ntasks=3", "c=2", "mem-per-cpu=1G").memory_bytes_per_node == 4 * GIB
    assert spec_of("p=gpu", "nodes=2", "gpus=8", "mem-per-gpu=3G").memory_bytes_per_node == 12 * GIB
    assert spec_of("p=gpu", "nodes=2", "gpus=a100:8").gpus_per_node == 4
    assert spec_of("p=gpu", "nodes=2", "ntasks=4", "gpus-per-task=2").gpus_per_node == 4
    assert spec_of("p=gpu", "gres=gpu:a100:3").gpus_per_node == 3
    assert spec_of("p=gpu", "gpus=0").gpu_type == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["c=9"], ["-c: ", "9 CPUs", "at most 8 CPUs", "biggest node has 8 CPUs, 32G of memory"]),
        (["mem=33G"], ["--mem", "at most 32G of memory"]), (["nodes=5"], ["--nodes", "5 nodes", "only 4 such nodes"]),
        (["ntasks=33"], ["--ntasks", "no node", "biggest"]), (["p=gpu", "gpus=16"], ["--gpus", "at most 4 GPUs"]),
        (["p=gpu", "gpus-per-node=h100:1"], ["--gpus-per-node: ", "at most 0 GPUs of type 'h100'", "a100:4 GPUs"]),
        (["C=gold"], ["-C: ", "none has feature 'gold'"]), (["C=gold", "nodes=2", "c=2"], ["-C: "]),
        (["C=gold|iron"], ["-C: ", "none has one of"]), (["nodes=1", "mem=33G"], ["--mem: "]),
        (["gres=beer"], ["--gres", "none has 'beer'"]),
        (["p=gpu", "gres=licence_x:3"], ["at most 2 'licence_x'"]),
        (["p=empty", "nodes=2"], ["-p: ", "'empty' has no nodes"]),
        (["p=all", "nodes=3", "c=9"], ["3 nodes with 9 CPUs each", "only 2 such nodes"]),
        (["p=gpu", "nodes=2", "gpus=3"], ["--gpus", "3 GPUs cannot be spread evenly over 2 nodes", "--gpus-per-node"]),
        (["nodes=2", "ntasks=1"], ["--ntasks", "fewer than 2 nodes"]), (["mem-per-gpu=1G"], ["needs GPUs"]),
        (["nodes=1", "ntasks=8", "ntasks-per-node=4"], ["8 tasks do not fit on 1 nodes with 4 each"]),
        (["p=mian"], ["-p: ", "did you mean 'main'?", "main, gpu, all, empty"]),
    ],
)  # fmt: skip
def test_what_can_never_run_is_refused(options, words):
    (problem,) = problems_of(*options)
    for word in words:
        assert word in problem


@pytest.mark.parametrize(
    "options", [["ntasks=2147483647"], ["ntasks=9999", "mem-per-cpu=1G"], ["ntasks=5000", "gpus=4999"]]
)
def test_choosing_nodes_stays_fast_in_a_large_unequal_cluster(options):
    nodes = tuple(Node(NodeName(f"n{i}"), 1 + i % 64, (1 + i % 7) * 64 * GIB, ("a",) * 4) for i in range(10_000))
    partition = Partition(PartitionName("x"), tuple(node.name for node in nodes), True)
    context = ParseContext.of_cluster(Cluster("c", nodes, (partition,)), NOW_S)
    request = JobRequest(command=("x",), options=tuple(tuple(option.split("=")) for option in options))
    begin = time.thread_time()
    with contextlib.suppress(InvalidInput):
        parse_job(request, context)
    assert time.thread_time() - begin < 0.5


def test_nodes_that_have_everything_but_not_together():
    nodes = (Node(NodeName("a"), 64, GIB), Node(NodeName("b"), 1, 64 * GIB))
    partition = Partition(PartitionName("x"), (nodes[0].name, nodes[1].name), True)
    context = ParseContext.of_cluster(Cluster("c", nodes, (partition,)), NOW_S)
    assert "none has all of it together" in problems_of("c=64", "mem=64G", context=context)[0]


def test_all_problems_at_once_with_their_places():
    problems = problems_of(
        "nodes=4-2", "tiem=3", "q=", "exclusive=user", "hold=1", "priority=", "begin=soon", "p=nowhere",
        **script("#HAL --mem=10X", "#SBATCH --propagate=ALL"), environment=("A-B=1", "C"), working_directory="here",
    )  # fmt: skip
    places = [problem.partition(": ")[0] for problem in problems]
    assert places == [
        "job.sh:2", "job.sh:3", "--nodes", "--tiem", "-q", "--exclusive", "--hold", "--priority",
        "environment", "environment", "working_directory", "--begin", "-p",
    ]  # fmt: skip
    text = "\n".join(problems)
    assert "job.sh:2: --mem: '10X' is not an amount of memory" in text
    assert "did you mean 'time'?" in text
    assert "--propagate: is not supported: the limits are those of the node" in text


def test_without_a_default_partition_one_must_be_named():
    context = attrs.evolve(CONTEXT, partitions={"gpu": CONTEXT.partitions["gpu"]})
    assert problems_of(context=context) == ["--partition: there is no default partition; choose one of: gpu"]


def test_exactly_one_program():
    assert "exactly one" in problems_of(command=())[0]
    assert "exactly one" in problems_of(command=("x",), **script())[0]
    assert "exactly one" in problems_of("wrap=x")[0]
    assert "the program is empty" in problems_of(command=("",))[0]
    assert problems_of(command=("echo 'hi'",)) == [
        "command: \"echo 'hi'\" is one word, and no program has that name; leave out the quotes, or use --wrap"
    ]
    assert spec_of(command=("./a b", "c")).command == ("./a b", "c")
    assert "only a script takes arguments" in problems_of(arguments=("1",))[0]
    assert spec_of(arguments=("1", ""), **script()).arguments == ("1", "")
    assert spec_of("wrap=a | b", command=()).script == "#!/bin/sh\n# Made by --wrap.\na | b\n"


@pytest.mark.parametrize("fields", [{"command": ()}, {"command": (), "arguments": ("job.sh",)}])
def test_behind_an_unknown_option_the_program_may_have_been_its_value(fields):
    """`hal submit --tiem 10 -- hostname`: what is read as a script is the option's value. One mistake, one message."""
    (problem,) = problems_of("tiem", **fields)
    assert problem.startswith("--tiem: is not an option that HAL knows (did you mean 'time'?)")


def test_names():
    assert spec_of(**script()).name == "job.sh"
    assert spec_of("wrap=x", command=()).name == "wrap"
    assert spec_of(command=("/usr/bin/env", "x")).name == "env"
    assert "control" in problems_of("name=a\nb")[0]
    assert "--job-name" in problems_of(command=("/tmp/a\x1bb",))[0]
    assert "256" in problems_of("name=" + "x" * 10_000)[0]


def test_sizes_and_strings():
    assert "NUL" in problems_of(command=("x", "a\0"))[0]
    assert "not UTF-8" in problems_of(command=("x", "a\udcff"))[0]
    assert "131071" in problems_of(command=("x", "a" * 2_000_000))[0]
    assert "at most 65536" in problems_of(command=("x",) * 100_000)[0]
    assert "at most 1048576" in problems_of(command=("x", *["a" * 100_000] * 11))[0]
    assert "at most 2097152" in problems_of(environment=tuple(f"A{i}=" + "x" * 100_000 for i in range(30)))[0]
    assert "environment variable" in problems_of(environment=("A\nB=1",))[0]
    assert "NAME=value" in problems_of(environment=("A",))[0]
    assert "128" in problems_of(client_id="x" * 129)[0]


def test_the_environment_is_passed_exactly():
    values = ("A=", "B==x=", "C=two\nlines", "D=ü", "_=1")
    assert spec_of(environment=values).environment == values
    assert spec_of("export=NONE", environment=values).environment == ()
    assert spec_of("export=A,E=5", environment=values).environment == ("A=", "E=5")


def test_functions_of_the_shell_are_left_out_with_a_warning():
    request = JobRequest(command=("x",), environment=("A=1", "BASH_FUNC_module%%=() { :; }"))
    parsed = parse_job(request, CONTEXT)
    assert parsed.spec.environment == ("A=1",)
    assert [str(warning) for warning in parsed.warnings] == [
        "environment: functions exported by the shell are not passed on: module"
    ]


def test_no_memory_limit_is_said_aloud():
    parsed = parse_job(JobRequest(command=("x",), options=(("mem", "0"),)), CONTEXT)
    assert parsed.spec.memory_bytes_per_node == 0
    assert "--exclusive" in str(parsed.warnings[0])
    assert not parse_job(JobRequest(command=("x",), options=(("mem", "0"), ("exclusive", ""))), CONTEXT).warnings


def test_array_output_has_the_index():
    assert spec_of("array=0-3").output_pattern == "hal-%A_%a.out"
    assert spec_of("array=0-3", "output=x").output_pattern == "x"


def test_priorities():
    assert spec_of("priority=5").priority == 5
    assert spec_of("nice=7").priority == -7
    assert "only one of --priority and --nice" in problems_of("priority=5", "nice=7")[0]


def test_relative_directories_are_refused():
    assert "relative" in problems_of("chdir=here")[0]
    assert "relative" in problems_of(working_directory="here")[0]
    assert spec_of("chdir=/data", working_directory="/home").working_directory == "/data"


def test_equal_environments_are_one_object():
    first = spec_of(environment=("A=1",))
    assert spec_of("n=2", environment=("A=1",)).environment is first.environment


def test_outputs_are_refused_where_nobody_would_look_for_them():
    elsewhere = tuple(attrs.evolve(node, executor="elsewhere") for node in LARGE)
    cluster = attrs.evolve(CLUSTER, nodes=(*SMALL, *elsewhere))
    context = ParseContext.of_cluster(cluster, NOW_S).with_stores(cluster, {"metal"})
    for partition in ("main", "all"):
        assert spec_of("outputs=a=b", f"partition={partition}", context=context).outputs == ("a=b",)
    (problem,) = problems_of("outputs=a=b", "partition=gpu", context=context)
    assert problem == "--outputs: on nodes of partition gpu nobody would look for what the job leaves; leave it away"
    assert spec_of("partition=gpu", context=context).outputs == ()


def test_mail_is_promised_only_where_somebody_sends_it():
    assert "no observer `mail` is configured" in str(problems_of("mail-type=END"))
    mailing = attrs.evolve(CONTEXT, mail_domain="example.org")
    assert spec_of("mail-type=fail", context=mailing).mail_types == ("FAIL",)
    assert spec_of("mail-type=NONE").mail_types == ()
