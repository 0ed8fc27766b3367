"""What jobs leave as datasets: measured on the node before the end is told, and taken in only as the job named it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import attrs
import pytest

from hal_core.agent.outputs import Outputs
from hal_core.errors import InvalidInput
from hal_core.models.dataset import DataFile, Dataset, MadeDataset
from hal_core.models.effect import LaunchOrder
from hal_core.models.event import OutputRefused
from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner
from hal_core.models.message import AddDataset, OutputsMade, PartStatus
from hal_core.models.node import NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share
from tests.support.core_world import World, make_cluster

N0 = NodeName("n0")
KEY = AttemptKey(JobId(1), 0, 1)
ENDED = PartStatus(KEY, 1.0, 2.0, End(EndKind.EXITED, exit_code=0))
FILE = DataFile("a", 5, "a" * 64)


def an_order(directory: Path, *outputs: str, nodes: tuple[str, ...] = ("n0",)) -> LaunchOrder:
    spec = JobSpec("job", PartitionName("all"), command=("true",), working_directory=str(directory), outputs=outputs)
    named = tuple((NodeName(each), 1) for each in nodes)
    return LaunchOrder(KEY, Owner("me", os.geteuid(), os.getegid()), spec, Share(N0, 1, "0"), named)


async def test_a_directory_and_a_file_are_measured_once_and_then_the_end_is_told(tmp_path):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "b c").write_bytes(b"second")
    (tmp_path / "out" / "a").write_bytes(b"")
    (tmp_path / "log").write_bytes(b"log")
    outputs = Outputs(tmp_path)
    outputs.expect(an_order(tmp_path, "result=out/", "log@7=log"), "n0")
    assert outputs.shown(ENDED).end is None
    assert outputs.shown(attrs.evolve(ENDED, end=None)).end is None
    outputs = Outputs(tmp_path)  # the next agent
    assert [outputs.begin(ENDED), outputs.begin(ENDED)] == [True, False]
    made = await outputs.measure(KEY)
    sha256 = [hashlib.sha256(each).hexdigest() for each in (b"", b"second", b"log")]
    files = (DataFile("a", 0, sha256[0]), DataFile("deep/b c", 6, sha256[1]))
    assert made.datasets == (
        MadeDataset("result", "", str(tmp_path / "out"), files),
        MadeDataset("log", "7", str(tmp_path), (DataFile("log", 3, sha256[2]),)),
    )
    assert outputs.shown(ENDED) == ENDED
    outputs.forget(KEY)
    assert not list((tmp_path / "outputs").iterdir())


@pytest.mark.parametrize(("path", "words"), [("gone", "No such file"), ("empty", "0 files")])
async def test_a_job_whose_output_is_not_there_has_not_ended_well(tmp_path, path, words):
    (tmp_path / "empty").mkdir()
    outputs = Outputs(tmp_path)
    outputs.expect(an_order(tmp_path, f"result={path}"), "n0")
    assert outputs.begin(ENDED)
    made = await outputs.measure(KEY)
    assert words in made.fault
    end = outputs.shown(ENDED).end
    assert end is not None
    assert (end.kind, end.detail) == (EndKind.STAGING_FAILED, made.fault)


def test_what_failed_or_names_no_outputs_or_runs_on_another_node_is_not_measured(tmp_path):
    outputs = Outputs(tmp_path)
    outputs.expect(an_order(tmp_path), "n0")
    outputs.expect(an_order(tmp_path, "result=out", nodes=("n1", "n0")), "n0")
    assert outputs.shown(ENDED) == ENDED
    outputs.expect(an_order(tmp_path, "result=out"), "n0")
    failed = attrs.evolve(ENDED, end=End(EndKind.EXITED, exit_code=3))
    assert outputs.shown(failed) == failed
    assert not outputs.begin(failed)


# -- in the core -------------------------------------------------------------------------------------------------------


def a_world() -> World:
    return World(make_cluster(1)).join()


def ids(world: World) -> list[str]:
    return list(world.state.catalogue.by_id)


def test_only_what_the_job_named_becomes_a_dataset_and_once():
    world = a_world()
    key = world.start(outputs=("result=out", "log@7=log"))
    made = tuple(
        MadeDataset(name, version, "/w", (FILE,)) for name, version in (("result", ""), ("log", "7"), ("x", ""))
    )
    for _ in range(2):
        world.tell(OutputsMade(N0, key, made))
    assert ids(world) == [f"result@job{key.job_id}", "log@7"]
    found = world.state.catalogue.demand("result")
    assert (found.owner, found.uid, found.replicas, found.files) == ("ada", 1000, ("/w",), (FILE,))
    world.tell(OutputsMade(N0, AttemptKey(JobId(99), 0, 1), made))
    assert len(ids(world)) == 2


def test_a_name_that_cannot_be_is_told_at_submission_and_one_that_was_taken_since_is_left_out():
    world = a_world()
    key = world.start(outputs=("result=out",))
    theirs = Dataset("result", "1", (FILE,), ("/b",), "bob", 1001, 1001)
    world.tell(AddDataset(theirs))
    world.tell(OutputsMade(N0, key, (MadeDataset("result", "", "/w", (FILE,)),)))
    assert ids(world) == ["result@1"]
    refused = world.events[-1]
    assert isinstance(refused, OutputRefused)
    assert (refused.key, refused.dataset) == (key, f"result@job{key.job_id}")
    assert "used by bob" in refused.detail
    with pytest.raises(InvalidInput, match="'result' is used by bob"):
        world.submit(outputs=("result=out",))
    mine = attrs.evolve(theirs, name="mine", owner="ada", uid=1000)
    world.tell(AddDataset(mine))
    with pytest.raises(InvalidInput, match="mine@1 already"):
        world.submit(outputs=("mine@1=out",))
    assert world.submit(outputs=("mine=out",))
