"""The configuration file: what it means, and every mistake at its line."""

from pathlib import Path

import attrs
import jsonschema
import pytest
import yaml

from hal_core.config.describe import default_yaml, describe_schema, json_schema
from hal_core.config.machine import MachineFacts, describe_machine, read_machine_facts
from hal_core.config.reading import parse_configuration, read_configuration
from hal_core.config.schema import ConfigurationFile
from hal_core.errors import InvalidInput, Problem
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.plugin import Installed, Pin
from hal_core.models.role import Role
from tests.support.small_configuration import SMALL

GIB = 2**30
EXAMPLE = Path(__file__).parents[2] / "docs" / "reference" / "cluster.example.yaml"
INSTALLED = {
    "engine": ["easy", "fifo"],
    "executor": ["metal"],
    "locality": ["files"],
    "observer": ["log", "prometheus"],
    "predictor": ["last-two"],
    "cloud": ["libcloud"],
}


def load(pins):
    """Those, whatever is pinned."""
    return Installed(INSTALLED)


def problems_of(text, load=None):
    with pytest.raises(InvalidInput) as caught:
        parse_configuration(text, "cluster.yaml", load)
    return [str(problem) for problem in caught.value.problems]


def test_a_small_file():
    configuration = parse_configuration(SMALL, "cluster.yaml", load)
    names = (NodeName("n1"), NodeName("n2"))
    assert configuration.cluster == Cluster(
        "hal",
        tuple(Node(name, 4, 8 * GIB) for name in names),
        (Partition(PartitionName("main"), names, is_default=True),),
        300.0,
    )
    assert configuration.engine.name == "easy"
    assert configuration.executors == {"metal": {}}
    assert configuration.listen.mode == 0o666


def test_the_example_file():
    configuration = read_configuration(EXAMPLE, load)
    cluster = configuration.cluster
    assert cluster.name == "aurora"
    assert len(cluster.nodes) == 157
    assert cluster.nodes[0] == Node(NodeName("n001"), 64, 256 * GIB, (), (), ("ib",), ("hall1", "rack1"))
    assert cluster.nodes[-1].name == "g20"
    assert cluster.nodes[-1].gpus == ("a100",) * 4
    assert cluster.nodes[-1].generic == (("fast_disk", 2),)
    main, gpu = cluster.partitions
    assert (main.is_default, main.walltime_s_max, main.walltime_s_default) == (True, 172_800, 3600)
    assert main.memory_bytes_per_cpu_default == 4 * GIB
    assert (len(gpu.nodes), gpu.priority, gpu.is_default) == (9, 10, False)
    assert configuration.users == {"ada": Role.ADMINISTRATOR, "grace": Role.OPERATOR}


def test_the_defaults_are_a_file_that_loads_and_changes_nothing():
    text = default_yaml()
    given = parse_configuration(text, "defaults.yaml", load)
    left_out = parse_configuration(SMALL, "cluster.yaml", load)
    assert attrs.evolve(given, cluster=left_out.cluster) == left_out
    partition = given.cluster.partitions[0]
    assert attrs.evolve(partition, nodes=()) == attrs.evolve(left_out.cluster.partitions[0], nodes=())


def test_the_json_schema_takes_the_same_files():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for text in (EXAMPLE.read_text(), SMALL, default_yaml()):
        assert not list(validator.iter_errors(yaml.safe_load(text)))
    for wrong in (SMALL + "colour: red\n", SMALL.replace("cpus: 4", "cpus: 0"), SMALL.replace("names", "name")):
        assert list(validator.iter_errors(yaml.safe_load(wrong)))


def test_every_key_is_described():
    rows = {row.path: row for row in describe_schema()}
    assert rows["nodes[].cpus"].default == ""
    assert rows["engine.name"].default == "easy"
    assert rows["listen.mode"].default == '"0666"'
    assert rows["executors"].default == "{metal: {}}"
    assert all(row.help and row.type for row in rows.values())
    assert {path.partition(".")[0].removesuffix("[]") for path in rows} == {
        field.name for field in attrs.fields(ConfigurationFile)
    }


@pytest.mark.parametrize("name", ["no", "on", "null", "1e3", "007", "yes", "0x10", "1_000", "true", "2001-01-01"])
def test_a_name_is_kept_exactly(name):
    cluster = parse_configuration(SMALL.replace("main", name), "cluster.yaml").cluster
    assert cluster.partitions[0].name == name


def test_times_are_read_by_hal_and_not_by_yaml():
    cluster = parse_configuration(SMALL + "    walltime_max: 1:30:00\n    walltime_default: 45\n", "x").cluster
    assert cluster.partitions[0].walltime_s_max == 5400
    assert cluster.partitions[0].walltime_s_default == 2700


def test_plugin_options_are_plain_values_without_guesses():
    text = """\
engine:
  name: fifo
  options:
    whole: 12
    part: 1.5
    flag: true
    nothing:
    tilde: ~
    texts: [no, on, 1:30, 0x10, 1_000, 2001-01-01, "12", .inf, 1e3, 007]
    deep: {a: [1, {b: null}]}
executors: {metal: {port: 7}}
"""
    configuration = parse_configuration(SMALL + text, "cluster.yaml", load)
    assert configuration.engine.options == {
        "whole": 12,
        "part": 1.5,
        "flag": True,
        "nothing": None,
        "tilde": None,
        "texts": ["no", "on", "1:30", "0x10", "1_000", "2001-01-01", "12", ".inf", "1e3", "007"],
        "deep": {"a": [1, {"b": None}]},
    }
    assert configuration.executors == {"metal": {"port": 7}}


def test_problems_of_plugins_find_their_line():
    configuration = parse_configuration(SMALL + "executors:\n  metal:\n    port: x\n", "cluster.yaml")
    error = InvalidInput([Problem("executors.metal.port", "expected a number"), Problem("elsewhere", "bad")])
    assert str(configuration.at_their_lines(error)).splitlines() == [
        "cluster.yaml:9:5: executors.metal.port: expected a number",
        "elsewhere: bad",
    ]


def test_gpus_of_a_node():
    def gpus(text):
        return parse_configuration(SMALL.replace("8G", f"8G\n    gpus: {text}"), "x").cluster.nodes[0].gpus

    assert gpus("a100:2") == ("a100", "a100")
    assert gpus("2") == ("gpu", "gpu")
    assert gpus("[a100, h100:2]") == ("a100", "h100", "h100")


def test_all_problems_at_once_in_the_order_of_the_file():
    text = """\
cluster: my cluster
nodes:
  - names: n[1-4]
    cpus: 0
    memory: 10X
    gpu: a100:4
    generic: {x: 1_0}
partitions:
  - name: main
    default: yes
    nodes: n[1-100000000]
engine: {name: esay}
observers: [log]
users: {bob: root}
listen: {mode: 999, socket: hal.sock}
listen: {}
"""
    problems = problems_of(text, load)
    assert [problem.split(": ")[0] for problem in problems] == [
        f"cluster.yaml:{position}"
        for position in ("1:10", "4:11", "5:13", "6:5", "7:18", "10:14", "11:12", "12:10", "13:12", "14:14", "16:1")
    ]
    assert "did you mean 'gpus'?" in problems[3]
    assert "nodes[0].memory" in problems[2]
    assert "no engine named 'esay'; installed: easy, fifo (did you mean 'easy'?)" in problems[7]
    assert "stands here twice (first at cluster.yaml:15)" in problems[10]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("n[1-2]", "n[1-2],n2"), "names 'n2' twice"),
        (("  - name: main", "  - name: main\n  - name: main"), "named twice"),
        (("  - name: main", "  - name: main\n    nodes: n[2-3]"), "no such node: 'n3'"),
        (("  - name: main", "  - {name: a, default: true}\n  - {name: b, default: true}"),
        "'a' is the default already"),
        (("  - name: main", "  - {name: a, walltime_max: 1h, walltime_default: 2h}"), "more than walltime_max"),
        (("memory: 8G", "memory: 8G\n    executor: metel"), "did you mean 'metal'?"),
        (("memory: 8G", "memory: 8G\n  - {names: n2, cpus: 1, memory: 1G}"), "named twice: n2"),
        (("memory: 8G", "memory: 8G\n    gpus: [a:1000, b:1000]"), "2000 GPUs"), (("memory: 8G", "memory: 8"), None),
        (("memory: 8G", "memory: 8K"), "less than 1M"), (("    memory: 8G\n", ""), "key 'memory' is missing"),
        (("- names: n[1-2]\n    cpus: 4\n    memory: 8G", "[]"), "no nodes"),
        (("  - name: main", "  []"), "no partitions"),
    ],
)  # fmt: skip
def test_contradictions(change, word):
    text = SMALL.replace(*change)
    assert text != SMALL
    if word is None:
        parse_configuration(text, "cluster.yaml")
    else:
        (problem,) = problems_of(text)
        assert word in problem
        assert problem.startswith("cluster.yaml:")


def test_without_a_default_among_several_none_is_chosen():
    cluster = parse_configuration(SMALL + "  - name: other\n", "x").cluster
    assert [partition.is_default for partition in cluster.partitions] == [False, False]


def test_plugins_that_are_not_installed():
    names = {"engine": ["easy"], "executor": ["metal"], "observer": ["log", "prometheus"]}
    assert problems_of(SMALL, lambda _: Installed(names)) == [
        "localities.files: no locality named 'files'; installed: none"
    ]
    parse_configuration(SMALL, "x", None)


def test_plugins_that_are_not_what_was_pinned():
    pins = []

    def load_pinned(given):
        pins.append(given)
        return Installed({"engine": ["easy"]}, {"backfill": "", "metal": "version 2 is installed; 1 is pinned"})

    text = SMALL + 'plugins:\n  backfill: {}\n  metal: {version: "1"}\n  metall: {}\n'
    problems = problems_of(text, load_pinned)
    assert "plugins.metal: version 2 is installed; 1 is pinned" in problems[-2]
    assert (
        "plugins.metall: no plugin named 'metall'; installed: backfill, metal (did you mean 'metal'?)" in problems[-1]
    )
    assert pins == [{"backfill": Pin(), "metal": Pin("1"), "metall": Pin()}]


@pytest.mark.parametrize("pin", ["{version: 1..0/}", "{sha256: abc}", "{sha265: x}", "[]"])
def test_no_plugin_is_loaded_if_it_cannot_be_read_which_may_be(pin):
    assert problems_of(SMALL + f"plugins:\n  backfill: {pin}\n", lambda _: pytest.fail("loaded"))


def test_roles():
    configuration = parse_configuration(SMALL + "users: {ada: operator}\ndefault_role: user\n", "x")
    assert configuration.role_of("ada", 1000, daemon_uid=64) is Role.OPERATOR
    assert configuration.role_of("bob", 1001, daemon_uid=64) is Role.USER
    assert configuration.role_of("root", 0, daemon_uid=64) is Role.ADMINISTRATOR
    assert configuration.role_of("hal", 64, daemon_uid=64) is Role.ADMINISTRATOR


def test_this_machine_as_one_node():
    facts = MachineFacts("vm.example.org", 8, 16 * GIB, 2)
    configuration = describe_machine(facts, "/tmp/state", "/tmp/api.sock")
    (node,) = configuration.cluster.nodes
    assert (node.name, node.cpu_count, node.memory_bytes, node.gpus) == ("vm", 8, 16 * GIB, ("gpu", "gpu"))
    assert configuration.cluster.partitions[0].is_default
    assert configuration.listen.mode == 0o600
    assert configuration.state_directory == "/tmp/state"


def test_this_machine_as_several_nodes():
    nodes = describe_machine(MachineFacts("vm", 2, 4 * GIB, 5), "/s", "/l", node_count=3).cluster.nodes
    assert [(node.name, node.cpu_count, len(node.gpus)) for node in nodes] == [("n1", 1, 2), ("n2", 1, 2), ("n3", 1, 1)]
    assert sum(node.memory_bytes for node in nodes) <= 4 * GIB
    with pytest.raises(InvalidInput, match="1 to 1000"):
        describe_machine(MachineFacts("vm", 2, GIB), "/s", "/l", node_count=0)


@pytest.mark.parametrize(("host", "name"), [("", "localhost"), ("a_b.c", "a-b"), ("-x-", "x"), ("ü", "localhost")])
def test_any_host_name_gives_a_node_name(host, name):
    assert describe_machine(MachineFacts(host, 1, GIB), "/s", "/l").cluster.nodes[0].name == name


def test_the_facts_of_this_machine(tmp_path):
    for device in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / device).touch()
    facts = read_machine_facts(str(tmp_path))
    assert facts.gpu_count == 2
    assert facts.cpu_count >= 1
    assert facts.memory_bytes > 2**26
    assert describe_machine(facts, "/s", "/l").cluster.nodes
