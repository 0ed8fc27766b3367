"""The log observer: one line for each event, nothing secret in it, and a file that may be rotated at any time."""

from __future__ import annotations

import json
import subprocess
import sys

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core import (
    Cluster,
    ClusterDefined,
    InvalidInput,
    JobId,
    JobSpec,
    JobSubmitted,
    Node,
    NodeDrained,
    NodeName,
    Owner,
    Partition,
    PartitionName,
    Planned,
)
from hal_observer_log.observer import LogObserver, lines_of

CANARY = "hunter2"
SPEC = JobSpec(
    name="train",
    partition=PartitionName("all"),
    script=f"#!/bin/sh\nexport TOKEN={CANARY}",
    arguments=(CANARY,),
    environment=(f"TOKEN={CANARY}",),
)
SUBMITTED = JobSubmitted(5.0, JobId(7), "c1", Owner("u", 1000, 1000), SPEC)
DRAINED = NodeDrained(6.0, NodeName("n1"), "disk", "root")


async def test_events_become_lines(tmp_path):
    log = tmp_path / "events.log"
    observer = LogObserver.from_options({"path": str(log)})
    await observer.record(41, [SUBMITTED, DRAINED])
    await observer.record(43, [DRAINED])
    first, second, third = map(json.loads, log.read_text().splitlines())
    assert (first["sequence"], first["event"], first["job_id"]) == (41, "JobSubmitted", 7)
    assert first["spec"]["name"] == "train"
    assert second == {
        "sequence": 42, "event": "NodeDrained", "time_s": 6.0, "node": "n1", "reason": "disk", "by": "root"
    }  # fmt: skip
    assert third["sequence"] == 43
    assert log.stat().st_mode & 0o007 == 0


def test_the_number_is_always_that_of_the_event():
    line = json.loads(lines_of(43, [Planned(6.0, "easy", 41, 1, 1, 0, ())]))
    assert (line["sequence"], line["seen_sequence"], line["engine"]) == (43, 41, "easy")


async def test_a_rotated_log_goes_on_in_a_new_file(tmp_path):
    log = tmp_path / "events.log"
    observer = LogObserver.from_options({"path": str(log)})
    await observer.record(1, [DRAINED])
    log.rename(tmp_path / "events.log.1")
    await observer.record(2, [DRAINED])
    assert json.loads(log.read_text())["sequence"] == 2
    assert json.loads((tmp_path / "events.log.1").read_text())["sequence"] == 1


def test_without_a_path_it_writes_to_standard_error():
    program = """
import trio
from hal_core import NodeDrained
from hal_observer_log.observer import LogObserver
trio.run(LogObserver.from_options({}).record, 1, [NodeDrained(6.0, "n1", "disk", "root")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stderr)["node"] == "n1"
    assert done.stdout == b""


def test_nothing_secret_is_written():
    as_command = attrs.evolve(SUBMITTED, spec=attrs.evolve(SPEC, script="", command=("curl", "-H", CANARY)))
    for event in (SUBMITTED, as_command):
        assert CANARY.encode() not in lines_of(1, [event])
    assert json.loads(lines_of(1, [as_command]))["spec"]["command"] == ["curl"]


def test_a_large_cluster_is_a_short_line():
    nodes = tuple(Node(NodeName(f"n{number}"), 8, 1 << 30) for number in range(10_000))
    cluster = Cluster("big", nodes, (Partition(PartitionName("all"), tuple(node.name for node in nodes)),))
    line = lines_of(1, [ClusterDefined(0.0, cluster)])
    assert json.loads(line)["cluster"] == {"name": "big", "node_count": 10_000, "partitions": ["all"]}


@given(st.text())
def test_whatever_a_name_holds_it_is_one_plain_line(name):
    line = lines_of(1, [attrs.evolve(DRAINED, reason=name)])
    assert line.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line)["reason"] == name


async def test_a_log_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(InvalidInput, match="expected an absolute path"):
        LogObserver.from_options({"path": "events.log"})
    with pytest.raises(OSError, match="No such file"):
        await LogObserver.from_options({"path": str(tmp_path / "none" / "x.log")}).record(1, [DRAINED])
