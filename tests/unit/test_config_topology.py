"""The topology in the configuration: what it means, and every mistake at its line."""

from __future__ import annotations

import pytest

from hal_core.config.reading import parse_configuration
from hal_core.errors import InvalidInput
from hal_core.models.topology import Level, LevelKind, Link, Topology
from hal_core.parsing.quantities import format_latency, parse_latency

HEAD = """
nodes:
  - names: n[1-8]
    cpus: 4
    memory: 8G
    location: LOCATION
partitions:
  - name: main
topology:
  latency: 30ms
  bandwidth: 1G
  money_per_gb: 0.02
  levels:
"""
LEVELS = """
    rack: {latency: 5us, bandwidth: 10G}
    block: {latency: 500ns, bandwidth: 400G, kind: block, segment: 2}
"""


def read(levels=LEVELS, location="[r1, b1]"):
    text = HEAD.replace("LOCATION", location) + levels
    return parse_configuration(text, "cluster.yaml").cluster


def problems_of(levels=LEVELS, location="[r1, b1]"):
    with pytest.raises(InvalidInput) as caught:
        read(levels, location)
    return [str(problem) for problem in caught.value.problems]


def test_levels_stand_widest_first():
    assert read().topology == Topology(
        (
            Level("rack", Link(5e-6, 10 * 2.0**30)),
            Level("block", Link(500e-9, 400 * 2.0**30), LevelKind.BLOCK, segment=2),
        ),
        Link(0.03, 2.0**30, 0.02),
    )


def test_ranges_in_a_location_share_the_nodes_out():
    nodes = read(location="['r[1-2]', 'b[1-2]']").nodes
    assert [node.location for node in nodes] == [
        *[("r1", "b1")] * 2, *[("r1", "b2")] * 2, *[("r2", "b1")] * 2, *[("r2", "b2")] * 2
    ]  # fmt: skip


def test_without_levels_there_is_no_topology():
    assert read("    {}\n").topology is None


@pytest.mark.parametrize(
    ("levels", "location", "text"),
    [
        (LEVELS, "[r1]", "the location of n1 has 1 parts; the topology has 2 levels: rack, block"),
        (LEVELS, "['r[1-3]', b1]", "8 nodes cannot be shared out evenly over its ranges"),
        (LEVELS.replace("segment", "segmnt"), "[r1, b1]", "no key 'segmnt' here (did you mean 'segment'?)"),
        (LEVELS.replace("kind: block, ", ""), "[r1, b1]", "only a block has segments"),
        (LEVELS.replace("5us", "5"), "[r1, b1]", "'5' is not a latency with its unit; write 800ns, 1.5us or 30ms"),
        (LEVELS.replace("400G", "0"), "[r1, b1]", "is no bandwidth; write how many bytes pass in a second: 25G"),
        (LEVELS.replace("400G", "10000000"), "[r1, b1]", "has no unit; write 10000000B if that is bytes in a second"),
        ("    t: {latency: 1us, bandwidth: 1G, kind: torus}\n", "[t1]", "a torus needs its dimensions, such as 8x8x4"),
        (
            "    t: {latency: 1us, bandwidth: 1G, kind: torus, dimensions: 4x4}\n",
            "[t1]",
            "t1 has 8 nodes; its torus needs 16",
        ),
        (
            "    t: {latency: 1us, bandwidth: 1G, kind: torus, dimensions: 8}\n    b: {latency: 1us, bandwidth: 1G}\n",
            "[t1, b1]",
            "only the narrowest level can be a torus",
        ),
        ("    t: {latency: 1us, bandwidth: 1G, dimensions: 2x4}\n", "[t1]", "only a torus has dimensions"),
        ("    t: {latency: 1us, bandwidth: 1G, kind: ring}\n", "[t1]", "it can be tree, block, torus, dragonfly"),
    ],
)
def test_a_mistake_is_told_at_its_line(levels, location, text):
    (problem,) = problems_of(levels, location)
    assert text in problem
    assert problem.startswith("cluster.yaml:")


@pytest.mark.parametrize("text", ["800ns", "1.5us", "30ms", "2s"])
def test_latencies_are_shown_as_they_are_written(text):
    assert format_latency(parse_latency(text)) == text
