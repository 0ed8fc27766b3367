"""The real Slurm of tests/support: it starts, runs jobs of every kind, survives what is done to it, and is gone.

One cluster serves most tests here; the last test has one of its own, with everything that can be switched on.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import slurm_config, slurm_packages
from tests.support.needs import need
from tests.support.slurm import SlurmCluster, SlurmCommandFailed, SlurmJobEnd
from tests.support.slurm_config import Layout, Ports, SlurmOptions


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    need(slurm_packages.why_impossible())
    with SlurmCluster(node_count=4, cpus=4, gpus=2) as cluster:
        yield cluster


def end_of(slurm: SlurmCluster, job_id: int) -> SlurmJobEnd:
    def ends() -> list[SlurmJobEnd]:
        return [end for end in slurm.jobs_ended() if end.job_id == job_id]

    slurm.tree.until(f"job {job_id} ended", lambda: bool(ends()), 60)
    [end] = ends()
    return end


def test_ends_are_told_with_state_code_and_signal(slurm: SlurmCluster) -> None:
    good, bad, killed = (slurm.submit("--wrap", text) for text in ("true", "exit 7", "kill -9 $$"))
    assert end_of(slurm, good).state == "COMPLETED"
    assert (end_of(slurm, bad).state, end_of(slurm, bad).exit_code) == ("FAILED", 7)
    assert (end_of(slurm, killed).state, end_of(slurm, killed).signal) == ("FAILED", 9)


def test_a_task_of_an_array_has_its_own_end(slurm: SlurmCluster) -> None:
    before = slurm.count_of_ends()
    array = slurm.submit("--array", "0-5", "--wrap", "true")
    ends = slurm.wait_for_ends(before + 6)[before:]
    assert {end.array_task_id for end in ends if end.array_job_id == array} == set(range(6))


def test_every_node_is_one_of_its_own(slurm: SlurmCluster) -> None:
    names = slurm.run("srun", "-N4", "sh", "-c", "echo $SLURMD_NODENAME").split()
    assert sorted(names) == slurm.nodes == ["n01", "n02", "n03", "n04"]


def test_a_job_sees_its_gpu(slurm: SlurmCluster) -> None:
    assert slurm.run("srun", "--gres=gpu:2", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES") == "0,1\n"


def test_a_plain_user_can_submit_and_read_the_output(slurm: SlurmCluster) -> None:
    job_id = slurm.submit("--output", "%j.txt", "--wrap", "id -un", user="nobody")
    assert end_of(slurm, job_id).state == "COMPLETED"
    assert (slurm.work / f"{job_id}.txt").read_text() == "nobody\n"


def test_a_refusal_carries_code_and_text(slurm: SlurmCluster) -> None:
    with pytest.raises(SlurmCommandFailed, match="Invalid partition name specified") as caught:
        slurm.submit("--partition", "nowhere", "--wrap", "true")
    assert caught.value.exit_code == 1


def test_a_controller_that_is_killed_comes_back_and_runs_jobs(slurm: SlurmCluster) -> None:
    last_id = slurm.submit("--wrap", "true")
    end_of(slurm, last_id)
    slurm.kill("slurmctld", signal.SIGKILL)
    slurm.start("slurmctld")
    # Slurm writes its state every few seconds: numbers that it forgot it gives again, and the end that is found for
    # such a number is that of its first job.
    job_id = slurm.submit("--wrap", "true")
    while job_id <= last_id:
        job_id = slurm.submit("--wrap", "true")
    assert end_of(slurm, job_id).state == "COMPLETED"


def test_accounting_and_rest_work_and_nothing_is_left_behind() -> None:
    need(slurm_packages.why_impossible())
    with SlurmCluster(node_count=2, cpus=2, has_accounting=True, has_rest=True, nodes_per_switch=1) as slurm:
        job_id = slurm.submit("--wrap", "exit 5")
        running = slurm.submit("--wrap", "(setsid sleep 1000 &) ; sleep 1000")
        assert end_of(slurm, job_id).exit_code == 5
        slurm.tree.until("the job runs", lambda: "sleep" in {member.name for member in slurm.tree.members()}, 60)
        slurm.tree.until("slurmdbd has it", lambda: accounted_code(slurm, job_id) == "5:0", 60)
        assert "leaf1" in slurm.run("scontrol", "show", "topology")
        assert rest_job(slurm, running)["job_state"] == "RUNNING"
        members, base = slurm.tree.members(), slurm.layout.base
    assert {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmrestd"} <= {m.name for m in members}
    assert not [member for member in members if Path(f"/proc/{member.pid}").exists()]
    assert not base.exists()
    assert str(base) not in Path("/proc/mounts").read_text()


def accounted_code(slurm: SlurmCluster, job_id: int) -> str:
    return slurm.run("sacct", "-n", "-P", "-X", "-j", str(job_id), "-o", "ExitCode").strip()


def rest_job(slurm: SlurmCluster, job_id: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", slurm.layout.ports.rest, timeout=20)
    headers = {"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": slurm.token()}
    connection.request("GET", f"/slurm/v0.0.38/job/{job_id}", headers=headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 200, answer
    [job] = answer["jobs"]
    assert isinstance(job, dict)
    return job


def test_the_configuration_says_what_was_asked_for() -> None:
    options = SlurmOptions(node_count=3, cpus=6, gpus=2, nodes_per_switch=2, settings={"KillWait": "9", "MailProg": ""})
    layout = Layout(Path("/base"), "here", Ports(1, 2, 3, (11, 12, 13)))
    files = slurm_config.files(options, layout)
    lines = files["slurm.conf"].splitlines()
    assert "KillWait=9" in lines
    assert not [line for line in lines if line.startswith("MailProg")]
    assert [line.split()[:2] for line in lines if line.startswith("NodeName")] == [
        ["NodeName=n01", "Port=11"],
        ["NodeName=n02", "Port=12"],
        ["NodeName=n03", "Port=13"],
    ]
    assert files["gres.conf"].endswith("File=/base/dev/gpu0,/base/dev/gpu1\n")
    assert files["topology.conf"].splitlines()[1:] == [
        "SwitchName=leaf1 Nodes=n03",
        "SwitchName=core Switches=leaf0,leaf1",
    ]
    assert "slurmdbd.conf" not in files


def test_what_is_missing_is_one_line() -> None:
    reason = slurm_packages.why_impossible()
    assert "\n" not in reason
    assert bool(reason) or os.geteuid() == 0
