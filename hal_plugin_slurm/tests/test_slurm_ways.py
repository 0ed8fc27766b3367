"""Both ways into a real Slurm give the same answers: each test here is run through slurmrestd and through commands."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable

import attrs
import pytest
import trio

from hal_core import members
from hal_plugin_slurm.way import LAUNCH_FAILED_SIGNAL, SlurmJob, SlurmRefused, Submission, Way
from tests.support.slurm import SlurmCluster

PATIENCE_S = 90.0
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"}


@pytest.fixture
def plain(slurm: SlurmCluster) -> Submission:
    """A submission with a name of its own, for tests to change."""
    work = str(slurm.work)
    return Submission("root", f"test@{uuid.uuid4().hex}", "#!/bin/sh\ntrue\n", work, "/dev/null", "/dev/null")


async def jobs_of(way: Way, submission: Submission, holds: Callable[[list[SlurmJob]], bool]) -> list[SlurmJob]:
    """The jobs of that name, once they are as wanted."""
    with trio.fail_after(PATIENCE_S):
        while True:
            found = [job for job in await way.jobs() if job.name == submission.name]
            if holds(found):
                return found
            await trio.sleep(0.2)


async def end_of(way: Way, submission: Submission) -> SlurmJob:
    await way.submit(submission)
    (job,) = await jobs_of(way, submission, have_ended)
    return job


def have_ended(jobs: Iterable[SlurmJob]) -> bool:
    states = {job.state for job in jobs}
    return bool(states) and states <= ENDED


@pytest.mark.parametrize(
    ("command", "state", "code", "signal"),
    [("true", "COMPLETED", 0, None), ("exit 7", "FAILED", 7, None), ("kill -9 $$", "FAILED", None, 9)],
)
async def test_an_end_is_told(way, plain, command, state, code, signal):
    job = await end_of(way, attrs.evolve(plain, script=f"#!/bin/sh\n{command}\n"))
    assert (job.state, job.exit_code, job.signal) == (state, code, signal)
    assert job.index is None
    assert job.start_time_s is not None
    assert job.end_time_s is not None
    assert time.time() - PATIENCE_S < job.start_time_s <= job.end_time_s <= time.time() + 1


async def test_all_that_is_asked_for_arrives(way, plain, slurm):
    told = ("$SLURM_JOB_NUM_NODES", "$SLURM_NTASKS", "$SLURM_TASKS_PER_NODE", "$SLURM_JOB_GPUS")
    asked = attrs.evolve(
        plain,
        user="nobody",
        output=f"{slurm.work}/{plain.name}-%j.txt",
        script=f"#!/bin/sh\nid -un; pwd; echo {','.join(told)}\n",
        node_count=2,
        task_count=4,
        cpus_per_task=2,
        memory_mb_per_node=700,
        gres_per_node="gpu:1",
        time_limit_min=7,
        partition="short",
        comment="words of the user",
    )
    job_id = await way.submit(asked)
    shown = slurm.run("scontrol", "show", "job", str(job_id))
    await jobs_of(way, asked, have_ended)
    written = (slurm.work / f"{asked.name}-{job_id}.txt").read_text().split()
    assert written[:2] == ["nobody", str(slurm.work)]
    assert written[2] in ("2,4,2(x2),0", "2,4,2(x2),1")
    for text in (
        "TimeLimit=00:07:00",
        "Partition=short",
        "Comment=words of the user",
        "NumNodes=2",
        "NumCPUs=8",
    ):
        assert text in shown
    assert "mem=1400M" in shown


async def test_an_array_is_one_submission_and_each_element_has_its_end(way, plain):
    script = "#!/bin/sh\nexit $((SLURM_ARRAY_TASK_ID % 3))\n"
    array_id = await way.submit(attrs.evolve(plain, script=script, indices="0-5,9"))
    jobs = await jobs_of(way, plain, lambda found: len(found) == 7 and have_ended(found))
    assert {job.index: job.exit_code for job in jobs} == {index: index % 3 for index in (0, 1, 2, 3, 4, 5, 9)}
    assert {job.native_id for job in jobs} == {array_id}


async def test_what_waits_of_an_array_is_one_record_and_some_of_it_can_be_cancelled(way, plain, slurm):
    slurm.run("scontrol", "update", "PartitionName=short", "State=DOWN")
    try:
        array_id = await way.submit(attrs.evolve(plain, indices="0-999,2000,2002,2004", partition="short"))
        (rest,) = await jobs_of(way, plain, bool)
        assert (rest.is_rest, rest.index, rest.state, rest.native_id) == (True, None, "PENDING", array_id)
        assert list(members(rest.rest)) == [*range(1000), 2000, 2002, 2004]
        await way.cancel([(array_id, ((0, 2), (2000, 2001)))])
        (rest,) = await jobs_of(way, plain, lambda found: found[0].rest != rest.rest)
        assert list(members(rest.rest)) == [*range(2, 1000), 2002, 2004]
        await way.cancel([(array_id, None)])
        await jobs_of(way, plain, have_ended)
    finally:
        slurm.run("scontrol", "update", "PartitionName=short", "State=UP")


async def test_a_running_job_can_be_cancelled_and_what_is_gone_is_passed_over(way, plain):
    job_id = await way.submit(attrs.evolve(plain, script="#!/bin/sh\nexec sleep 1000\n"))
    await jobs_of(way, plain, lambda found: [job.state for job in found] == ["RUNNING"])
    await way.cancel([(job_id, None), (87654321, None)])
    (job,) = await jobs_of(way, plain, have_ended)
    assert job.state == "CANCELLED"
    await way.cancel([(job_id, None)])


async def test_names_may_hold_the_ends_of_lines(way, plain, slurm):
    """One that nobody could read past would hide all jobs, or say something of others."""
    name = f"{plain.name}\n1|1|COMPLETED|"
    slurm.submit("--job-name", name, "--output", "/dev/null", "--wrap", "true")
    job_id = await way.submit(plain)
    (job,) = await jobs_of(way, plain, have_ended)
    assert (job.native_id, job.state) == (job_id, "COMPLETED")
    assert name in {each.name for each in await way.jobs()}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": "nowhere"}, "partition"),
        ({"memory_mb_per_node": 10_000_000}, "node configuration"),
    ],
)
async def test_a_refusal_says_why(way, plain, changes, words):
    with pytest.raises(SlurmRefused, match=f"(?i){words}"):
        await way.submit(attrs.evolve(plain, **changes))
    assert [job for job in await way.jobs() if job.name == plain.name and job.state != "FAILED"] == []


async def test_an_output_that_cannot_be_opened_is_told_as_such(way, plain):
    job = await end_of(way, attrs.evolve(plain, output="/dev/null/file", error="/dev/null/file"))
    assert (job.state, job.signal) == ("FAILED", LAUNCH_FAILED_SIGNAL)


async def test_accounting_remembers_by_name(way, plain):
    begin_s = time.time()
    step = "srun --job-name 'x\n7|7|COMPLETED' true"  # a name that could be taken for an answer
    await way.submit(attrs.evolve(plain, script=f"#!/bin/sh\n{step}\nkill -15 $$\n"))
    with trio.fail_after(PATIENCE_S):  # slurmdbd is told a little later
        while True:
            past = await way.history([plain.name, "another@name"], begin_s - 10)
            assert past is not None
            if have_ended(past):
                break
            await trio.sleep(0.2)
    (job,) = past
    assert (job.name, job.state, job.signal) == (plain.name, "FAILED", 15)


async def test_nodes_are_told(way, slurm):
    nodes = await way.nodes()
    assert [node.name for node in nodes] == slurm.nodes
    assert {(node.cpu_count, node.memory_mb, node.gpus) for node in nodes} == {(8, 16000, ("fake", "fake"))}
    slurm.run("scontrol", "update", "NodeName=n04", "State=DRAIN", "Reason=a look inside")
    try:
        found = {node.name: node for node in await way.nodes()}
        assert (found["n04"].state, found["n04"].reason) == ("drained", "a look inside")
    finally:
        slurm.run("scontrol", "update", "NodeName=n04", "State=RESUME")
