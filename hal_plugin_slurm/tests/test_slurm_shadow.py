"""`hal shadow` over a real Slurm, by both ways: what it did is seen whole, also across a pause; nothing is done
there."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from hal_core import NodeName
from hal_core.cli import main
from hal_core.shadow import Pace, follow_with
from hal_core.shadow.history import History
from hal_core.shadow.record import Record, read_history
from hal_plugin_slurm.following import Following, look_of
from hal_plugin_slurm.way import SlurmJob, SlurmNode, Way
from tests.support.hal import hal_command
from tests.support.slurm import SlurmCluster, SlurmJobEnd

PARTITIONS = {"main": "normal"}
CLUSTER = """
cluster: shadow
nodes:
  - {names: "n[01-04]", cpus: 8, memory: 64G, gpus: "fake:2", executor: slurm}
partitions:
  - {name: main, default: true}
executors:
  slurm: {way: commands, configuration: "%s", programs: "%s", partitions: {main: normal}}
"""


@attrs.frozen
class _OnlyAsked:
    """A way on which nothing but a question goes through."""

    way: Way

    async def nodes(self) -> object:
        return await self.way.nodes()

    async def jobs(self) -> object:
        return await self.way.jobs()


class _Quiet:
    def note(self, text: str) -> None: ...

    def progress(self, text: str) -> None: ...


async def follow_until(done: Callable[[History], bool], way: Way, path: Path) -> None:
    with trio.fail_after(120), Record(path) as record:
        async with trio.open_nursery() as nursery:
            scheduler = Following(_OnlyAsked(way), PARTITIONS)
            nursery.start_soon(follow_with, scheduler, "slurm", record, Pace(0.2), _Quiet())
            while True:
                if done(record.history):
                    break
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()


async def follow_all_until(done: Callable[[History], bool], ways: dict[str, Way], folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        for name, way in ways.items():
            nursery.start_soon(follow_until, done, way, folder / name)


async def test_a_real_slurm_is_followed_across_a_pause(
    ways: dict[str, Way], slurm: SlurmCluster, tmp_path: Path
) -> None:
    """Jobs, an array and one that is cancelled: all with the starts and ends that Slurm wrote down itself."""
    before, gate = slurm.count_of_ends(), slurm.work / "gate-of-shadow"
    submit = partial(slurm.submit, "--partition=normal", "--time=5", "--output=/dev/null")
    wide = submit("--nodes=2", "--exclusive", f"--wrap=until [ -e {gate} ]; do sleep 0.05; done")
    array = submit("--array=1-2", "--cpus-per-task=8", "--wrap=true")
    held = submit("--hold", "--wrap=true")
    names = {str(wide), f"{array}_1", f"{array}_2"}
    await follow_all_until(lambda history: names <= {name_of(key) for key in history.jobs}, ways, tmp_path)
    gate.touch()
    slurm.run("scancel", str(held))
    await follow_all_until(lambda history: names | {str(held)} <= over_in(history), ways, tmp_path)

    ends = {name_of_end(end): end for end in slurm.wait_for_ends(before + len(names) + 1)[before:]}
    assert ends.keys() == names | {str(held)}, "nothing was submitted but what this test submitted"
    instants = instants_of([text for name in names for text in (ends[name].start, ends[name].end)])
    for way in ways:
        history = read_history(tmp_path / way)
        mine = {name_of(key): job for key, job in history.jobs.items() if name_of(key) in names}
        for name in names:
            job, told = mine[name], ends[name]
            assert (job.start_time_s, job.end_time_s) == (instants[told.start], instants[told.end]), way
            assert (job.came.user, job.came.partition) == (told.user, "main"), way
            assert job.ready_time_s == job.came.submit_time_s, way
        assert mine[str(wide)].came.node_count == 2
        assert {len(job.nodes) for job in mine.values()} == {2, 1}
        assert set(history.nodes) == set(slurm.nodes)


def name_of_end(end: SlurmJobEnd) -> str:
    return str(end.job_id) if end.array_job_id is None else f"{end.array_job_id}_{end.array_task_id}"


def name_of(key: str) -> str:
    return key.partition("@")[0]


def over_in(history: History) -> set[str]:
    return {name_of(key) for key, job in history.jobs.items() if job.is_over}


def instants_of(texts: list[str]) -> dict[str, float]:
    """Local times of Slurm, as seconds since the epoch."""
    return {
        text: float(subprocess.run(["date", "-d", text, "+%s"], capture_output=True, text=True, check=True).stdout)
        for text in texts
    }


async def test_hal_shadow_follows_and_reports(
    slurm: SlurmCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command, as a person uses it: for a time, then on where it was until it is interrupted."""
    cluster, path, page = tmp_path / "cluster.yaml", tmp_path / "shadow.jsonl", tmp_path / "shadow.html"
    cluster.write_text(CLUSTER % (slurm.layout.configuration, slurm.programs))
    words = [*hal_command(), "shadow", "follow", str(cluster), str(path), "--every", "1s"]
    run = partial(trio.run_process, env=slurm.environment, check=False)
    async with trio.open_nursery() as nursery:
        following: trio.Process = await nursery.start(run, [*words, "--for", "1s"])
        await wait_for(path, lambda history: history.begin_s is not None, following)
        job_id = slurm.submit("--partition=normal", "--time=5", "--nodes=2", "--output=/dev/null", "--wrap=true")
    assert following.returncode == 0
    before, last_s = path.read_bytes(), read_history(path).last_s
    async with trio.open_nursery() as nursery:
        following = await nursery.start(run, words)
        await wait_for(path, lambda history: history.last_s > last_s and str(job_id) in over_in(history), following)
        following.send_signal(signal.SIGINT)
    assert following.returncode == 130
    assert path.read_bytes().startswith(before), "it is only ever added to"

    report = ["shadow", "report", str(cluster), str(path)]
    assert main(report) == 0
    assert "partition main" in capsys.readouterr().out
    assert main([*report, "--json", "--report", str(page)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["scheduler"], told["jobs"], told["settled"]) == ("slurm", 1, 1)
    assert [(group["name"], group["jobs"]) for group in told["by_partition"]] == [("main", 1)]
    assert told["hal_wait_s"]["max"] < 1.0, "all nodes are idle; Slurm tells the second of a submission, cut off"
    assert "What would HAL have done?" in page.read_text()


def history_in(path: Path) -> History:
    return read_history(path) if path.exists() else History()


async def wait_for(path: Path, is_there: Callable[[History], bool], following: trio.Process) -> None:
    with trio.fail_after(120):
        while not is_there(history_in(path)):
            assert following.poll() is None or is_there(history_in(path)), "it has ended"
            await trio.sleep(0.1)


# -- without a Slurm -------------------------------------------------------------------------------------------------


def test_what_slurm_says_becomes_a_look():
    jobs = [
        SlurmJob(
            7, "a", "PENDING", is_rest=True, rest=((1, 3),), reason="Dependency", submit_time_s=1.0, start_time_s=9.0
        ),
        SlurmJob(7, "a", "RUNNING", index=0, nodes="n1", start_time_s=5.0, end_time_s=65.0, tres="cpu=2,mem=1M,node=1"),
        SlurmJob(8, "b", "COMPLETED", nodes="n[1-2]", start_time_s=5.0, end_time_s=6.0, partition="normal"),
        SlurmJob(9, "c", "CANCELLED", end_time_s=6.0, start_time_s=6.0),
        SlurmJob(10, "d", "PENDING", is_rest=True, rest=()),
    ]
    nodes = [SlurmNode("n1", "down", 8, 10, reason="disk")]
    look = look_of(nodes, jobs, {"normal": "main"}, 100.0)
    assert look.nodes[0].closed == "down in Slurm: disk"
    found = {job.name: job for job in look.jobs}
    assert list(found) == ["7_1", "7_2", "7_0", "8", "9"], "a list that Slurm shortened names nobody"
    assert (found["7_1"].is_ready, found["7_1"].start_time_s, found["7_1"].reason) == (False, None, "Dependency")
    assert (found["7_0"].start_time_s, found["7_0"].end_time_s, found["7_0"].nodes) == (5.0, None, (NodeName("n1"),))
    assert (found["8"].end_time_s, found["8"].partition, len(found["8"].nodes)) == (6.0, "main", 2)
    assert (found["9"].start_time_s, found["9"].end_time_s) == (None, 6.0)


def test_following_needs_no_folder_and_refuses_what_the_executor_refuses():
    Following.from_options({"way": "commands"})
    with pytest.raises(Exception, match="wai"):
        Following.from_options({"wai": "commands"})
