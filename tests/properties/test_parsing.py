"""What is printed is read back, and no text whatever does more harm than to be refused."""

import string
import time

import pytest
from hypothesis import example, given, settings, strategies as st

from hal_core.errors import InvalidInput
from hal_core.models.job import ArraySpec, Dependency, DependencyKind, JobId
from hal_core.models.moment import moment
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.ranges import RangeSet, count_of, members
from hal_core.parsing.arrays import format_array, parse_array
from hal_core.parsing.context import ParseContext
from hal_core.parsing.dependencies import format_dependencies, parse_dependencies
from hal_core.parsing.durations import format_interval, format_time_limit, parse_interval, parse_time_limit
from hal_core.parsing.hosts import format_hosts, parse_hosts
from hal_core.parsing.instants import parse_instant
from hal_core.parsing.memory import format_memory, parse_memory
from hal_core.parsing.options import BY_NAME, OPTIONS
from hal_core.parsing.request import JobRequest, parse_job
from hal_core.parsing.resources import Generic, Gpus, format_generic, format_gpus, parse_generic, parse_gpus
from hal_core.parsing.script import read_script, split_words
from hal_core.parsing.unsupported import UNSUPPORTED
from hal_core.parsing.values import PARSERS

NOW_S = 1_700_000_000.0
NODES = tuple(Node(NodeName(f"n{i}"), 8, 2**35, ("a100",) * (i % 3)) for i in range(12))
CONTEXT = ParseContext.of_cluster(
    Cluster("c", NODES, (Partition(PartitionName("main"), tuple(n.name for n in NODES), True),)), NOW_S
)
WORD = st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda w: w.lower() not in ("none", "gpu"))
HOST = st.builds(
    lambda letters, number, width: letters + str(number).zfill(width),
    st.sampled_from(["n", "gpu", "a1b", "rack-2.n", ""]),
    st.integers(0, 30),
    st.integers(1, 3),
)
NOISE = st.text(
    alphabet=st.one_of(st.sampled_from("0123456789-:,%[]?=.+_aGnx\n\t\0 #'\"\\٣"), st.characters()), max_size=40
)


def refusal(call):
    """The error of a call that may refuse; any other exception is a bug and fails the test."""
    try:
        call()
    except InvalidInput as error:
        return error
    return None


@given(st.one_of(st.none(), st.integers(1, 10**8).map(float)))
def test_time_limits_round_trip(limit_s):
    assert parse_time_limit(format_time_limit(limit_s)) == limit_s


@given(st.integers(0, 3650 * 86_400))
def test_intervals_round_trip(interval_s):
    assert parse_interval(format_interval(interval_s)) == interval_s


@given(st.integers(0, 2**60))
def test_memory_round_trips(amount_bytes):
    assert parse_memory(format_memory(amount_bytes)) == amount_bytes


@given(st.lists(HOST, min_size=1, unique=True))
def test_hosts_round_trip_in_order(names):
    assert parse_hosts(format_hosts(names)) == tuple(names)


@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 9))
def test_equal_hosts_print_as_one_range(first, count, width):
    names = [f"n{number:0{width}}" for number in range(first, first + count)]
    assert parse_hosts(format_hosts(names)) == tuple(names)
    assert count == 1 or format_hosts(names).count("[") == 1


@given(
    st.lists(st.tuples(st.integers(0, 2**31 - 200), st.integers(1, 100), st.integers(1, 7)), min_size=1, max_size=9),
    st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_arrays_round_trip(parts, throttle):
    indices = RangeSet()
    for start, length, step in parts:
        for index in range(start, start + length, step):
            indices.add(index)
    array = ArraySpec(indices.ranges(), throttle)
    assert parse_array(format_array(array)) == array


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 50))
def test_array_steps_mean_what_they_say(first, length, step):
    array = parse_array(f"{first}-{first + length}:{step}")
    assert list(members(array.indices)) == list(range(first, first + length + 1, step))


@given(
    st.lists(
        st.one_of(
            st.just(Dependency(DependencyKind.SINGLETON)),
            st.builds(
                Dependency,
                st.sampled_from([kind for kind in DependencyKind if kind is not DependencyKind.SINGLETON]),
                st.integers(1, 10**15).map(JobId),
            ),
        ),
        min_size=1,
        unique=True,
    ),
    st.booleans(),
)
def test_dependencies_round_trip(dependencies, needs_all):
    found, found_all = parse_dependencies(format_dependencies(dependencies, needs_all))
    assert found == tuple(dependencies)
    assert found_all == (needs_all or len(dependencies) == 1)


GPUS = st.builds(Gpus, st.integers(0, 1000), st.one_of(st.just(""), WORD))


@given(GPUS)
def test_gpus_round_trip(gpus):
    assert parse_gpus(format_gpus(gpus)) == gpus


@given(st.dictionaries(WORD, st.integers(1, 1000), max_size=5), st.one_of(st.none(), GPUS))
def test_generic_resources_round_trip(amounts, gpus):
    generic = Generic(tuple(sorted(amounts.items())), gpus)
    assert parse_generic(format_generic(generic)) == generic


@given(st.integers(0, int(NOW_S)))
def test_instants_round_trip(instant_s):
    assert parse_instant(moment(instant_s), NOW_S) == instant_s


@given(st.lists(st.text(alphabet=string.printable.replace("\n", "").replace("\r", ""), min_size=1)))
def test_quoted_words_survive_splitting(words):
    quoted = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)
    assert split_words(quoted) == words


@given(st.sampled_from(sorted(PARSERS)), NOISE)
@example("array", "0-9:" + "9" * 5000)
@example("nodes", "9" * 100_000)
@example("mem", "1" * 5000 + "G")
@example("time", "1-" * 10_000)
@settings(max_examples=600)
def test_no_text_breaks_a_parser(name, text):
    begin = time.thread_time()
    error = refusal(lambda: PARSERS[name](text))
    assert error is None or str(error).isprintable(), "an error text must be safe on a terminal"
    assert error is None or len(str(error)) < 1000
    assert time.thread_time() - begin < 1.0


@given(st.text(st.one_of(st.sampled_from("#HALSBATCH -='\"\n\\"), st.characters()), max_size=200))
@settings(max_examples=300)
def test_no_script_breaks_the_reader(text):
    for script in (text, f"#!/bin/sh\n{text}", f"#!/bin/sh\n#HAL {text}", f"#!/bin/sh\n#SBATCH --time={text}"):
        error = refusal(lambda script=script: read_script(script, "job.sh"))
        assert error is None or all(problem.place.startswith("job.sh") for problem in error.problems)


@given(
    st.lists(
        st.tuples(st.one_of(st.sampled_from(sorted({*BY_NAME, *UNSUPPORTED})), NOISE), st.one_of(NOISE, st.just("2")))
    ),
    st.lists(NOISE, min_size=1, max_size=3),
    st.lists(NOISE, max_size=3),
)
@settings(max_examples=300)
def test_no_request_breaks_parse_job(options, command, environment):
    request = JobRequest(command=tuple(command), options=tuple(options), environment=tuple(environment))
    error = refusal(lambda: parse_job(request, CONTEXT))
    if error is not None:
        assert all(problem.text for problem in error.problems)
    else:
        spec = parse_job(request, CONTEXT).spec
        assert spec.task_count >= spec.node_count >= 1
        assert spec.shape().cpus <= 8


@given(st.integers(1, 96), st.integers(1, 8), st.sampled_from([None, "1G", "4G"]), st.sampled_from([None, 1, 2, 3, 8]))
def test_the_chosen_number_of_nodes_is_the_smallest(tasks, cpus, memory, tasks_per_node):
    options = [("ntasks", str(tasks)), ("cpus-per-task", str(cpus))]
    options += [("mem-per-cpu", memory)] if memory else []
    options += [("ntasks-per-node", str(tasks_per_node))] if tasks_per_node else []
    most = min(8 // cpus, 32 // (cpus * int(memory[0])) if memory else 8, tasks_per_node or tasks)
    fewest = -(-tasks // most) if most else 13
    request = JobRequest(command=("x",), options=tuple(options))
    if fewest > len(NODES):
        with pytest.raises(InvalidInput):
            parse_job(request, CONTEXT)
    else:
        spec = parse_job(request, CONTEXT).spec
        assert spec.node_count == fewest
        assert spec.task_count == tasks


def test_a_million_elements_are_one_range():
    array = parse_array("0-999999%100")
    assert array.indices == ((0, 1_000_000),)
    assert count_of(array.indices) == 1_000_000


def test_the_table_of_options_is_whole():
    assert {option.name for option in OPTIONS} == set(PARSERS)
    letters = [option.letter for option in OPTIONS if option.letter]
    assert len(letters) == len(set(letters))
    assert not set(BY_NAME) & set(UNSUPPORTED), "an option is either supported or refused"
