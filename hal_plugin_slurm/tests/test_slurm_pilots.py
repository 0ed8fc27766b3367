"""Pilots: the contract of a cloud over a Slurm in memory, and HAL's own jobs inside of allocations of a real one."""

from __future__ import annotations

import json
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hal_core import Fleet, InvalidInput, NoCapacity, Refused, Unavailable, structure_options
from hal_core.testing import Fault, check_cloud, check_cloud_faults
from hal_plugin_slurm.pilot_options import PilotOptions
from hal_plugin_slurm.pilots import PilotMachines
from hal_plugin_slurm.way import SlurmRefused, SlurmSilent, SlurmUnanswered, Submission
from tests.support.fake_slurm import FakeSlurm
from tests.support.hal_services import DAEMON
from tests.support.pilots import PilotServices
from tests.support.slurm import SlurmCluster

PATIENCE_S = 90.0
ME = pwd.getpwuid(os.geteuid()).pw_name
POLICY = "sbatch: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"
OFFER = {"name": "pilot", "count_max": 3, "cpu_count": 4, "memory_bytes": 1 << 30, "walltime_s": 90.0}


def options(tmp_path: Path, **changes: Any) -> PilotOptions:
    script = tmp_path / "pilot.sh"
    script.write_text("#!/bin/sh\nexec hal agent --node {node}\n")
    given = {"name_prefix": "lab", "directory": "/w%d", "user_data": {"file": str(script)}, "offers": [OFFER]}
    return structure_options(PilotOptions, given | changes, "clouds.slurm")


class Recording(FakeSlurm):
    """Keeps what was submitted."""

    def __init__(self) -> None:
        super().__init__(wait_s=0.0, latency_s=0.0, behaviour=lambda submission, index: (1e6, "COMPLETED", 0))
        self.submissions: list[Submission] = []

    async def submit(self, submission: Submission) -> int:
        self.submissions.append(submission)
        return await super().submit(submission)


@pytest.fixture
def slurm_in_memory() -> Recording:
    return Recording()


@pytest.fixture
def fleet(tmp_path: Path, slurm_in_memory: Recording) -> Fleet:
    chosen = options(tmp_path)
    return Fleet(PilotMachines(chosen, slurm_in_memory), chosen.fleet())


async def test_pilots_keep_the_contract_of_a_cloud(fleet, slurm_in_memory):
    await check_cloud(fleet)
    assert not slurm_in_memory.left


async def test_pilots_bear_every_fault_and_nothing_is_left(fleet, slurm_in_memory):
    def inject(fault: Fault) -> None:
        if fault is Fault.LOST:
            slurm_in_memory.lost.append(SlurmUnanswered("timed out"))
        else:
            is_full = fault is Fault.NO_CAPACITY
            slurm_in_memory.refused.append(SlurmRefused(POLICY) if is_full else SlurmSilent("connect failure"))

    await check_cloud_faults(fleet, inject)
    assert not slurm_in_memory.left
    assert max(slurm_in_memory.run_count.values()) == 1


async def test_what_is_asked_of_slurm_is_what_the_offer_says(tmp_path, slurm_in_memory):
    more = {"gpus": ["a100", "a100"], "partition": "long", "is_exclusive": True, "walltime_s": 3659.0}
    chosen = options(tmp_path, offers=[OFFER | more])
    fleet = Fleet(PilotMachines(chosen, slurm_in_memory), chosen.fleet())
    (offer,) = await fleet.offers()
    assert (offer.price_per_hour, offer.node.cpu_count, offer.node.gpus) == (0.0, 4, ("a100", "a100"))
    (made,) = await fleet.provision("pilot", 1, "t")
    (asked,) = slurm_in_memory.submissions
    assert (made.node, asked.user) == ("lab-pilot-0", ME)
    assert asked.script == "#!/bin/sh\nexec hal agent --node lab-pilot-0\n"
    assert asked.output == "/w%%d/lab-pilot-0-%j.log"
    assert (asked.cpus_per_task, asked.memory_mb_per_node, asked.gres_per_node) == (4, 1024, "gpu:a100:2")
    assert (asked.partition, asked.is_exclusive, asked.time_limit_min) == ("long", True, 60)


async def test_a_job_of_somebody_else_is_no_pilot_whatever_its_name(fleet, slurm_in_memory):
    (made,) = await fleet.provision("pilot", 1, "t")
    (asked,) = slurm_in_memory.submissions
    other = await slurm_in_memory.submit(Submission("mallory", asked.name.replace("-0-", "-1-"), "", "/", "/o", "/o"))
    assert [each.native_id for each in await fleet.instances()] == [made.native_id]
    await fleet.release([str(other), made.native_id])
    assert [name for name in slurm_in_memory.left if name != asked.name], "it was ended"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (SlurmRefused(POLICY), NoCapacity),
        (SlurmRefused("sbatch: Invalid partition specified"), Refused),
        (SlurmSilent("connect failure"), Unavailable),
        (SlurmUnanswered("timed out"), Unavailable),
    ],
)
async def test_a_no_is_told_with_when_to_ask_again(fleet, slurm_in_memory, failure, kind):
    slurm_in_memory.refused.append(failure)
    with pytest.raises(kind, match=str(failure).partition("(")[0]) as caught:
        await fleet.provision("pilot", 1, "t")
    assert type(caught.value) is kind
    assert not isinstance(caught.value, Unavailable) or caught.value.retry_after_s > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"directory": "pilots"}, "directory: expected an absolute path"),
        ({"offers": [OFFER | {"walltime_s": 5.0}]}, "walltime_s"),
        ({"offers": [OFFER, OFFER]}, "each offer may be listed once"),
        ({"name_prefix": "La-b"}, "name_prefix"),
        ({"offers": [OFFER | {"partitoin": "long"}]}, "did you mean 'partition'"),
        ({"user_data": {"server": "login1:7444"}}, "user_data: expected the file of a script"),
        ({"way": "rest"}, "needs an address"),
    ],
)
def test_wrong_options_are_named(tmp_path, changes, words):
    with pytest.raises(InvalidInput, match=words):
        options(tmp_path, **changes)


@pytest.fixture
def hal(slurm: SlurmCluster) -> Iterator[PilotServices]:
    with PilotServices(slurm=slurm, node_count=2, cpus=4, memory="1G", has_pool=True) as services:
        yield services


def test_the_daemon_orders_pilots_for_what_waits_and_leaves_nothing_in_slurm(hal: PilotServices, slurm: SlurmCluster):
    """Killed as soon as it has asked Slurm; the token of the pilot is for nobody else to read."""
    before = slurm.count_of_ends()
    job = hal.submit("true", options=[("time", "5"), ("array", "0-19")])
    hal.tree.until("a pilot is in Slurm", lambda: bool(pilots_of(slurm)), PATIENCE_S)
    hal.kill(DAEMON)
    (native_id, *_) = pilots_of(slurm)
    assert "hal-join-" in slurm.run("scontrol", "write", "batch_script", native_id, "-"), "the owner may see it"
    foreign = slurm.try_run("scontrol", "write", "batch_script", native_id, "-", user="nobody")
    assert "hal-join-" not in foreign.stdout + foreign.stderr, foreign
    assert not readable_by_others(slurm.layout.base, b"hal-join-")
    hal.start_service(DAEMON)
    hal.wait_until_ready()
    hal.wait_until_done(timeout_s=PATIENCE_S)
    assert hal.get(f"/v1/jobs/{job}")["counts"] == {"COMPLETED": 20}
    hal.tree.until("the pilots are given back", lambda: not pilots_of(slurm), PATIENCE_S, hal.watched)
    assert 0 < slurm.count_of_ends() - before < 20, "to Slurm there are pilots only"
    shown = hal.run("cloud", "instances", str(hal.write_clouds(rest_of(slurm))), "--json")
    assert json.loads(shown.stdout) == {"instances": []}, "by the other way in, too"
    assert not list(slurm.work.glob("hal-pilot-*")), "the agents' own directories go with them"


def pilots_of(slurm: SlurmCluster) -> list[str]:
    """Those that wait, run, or leave their nodes, by Slurm's ids."""
    lines = slurm.run("squeue", "-h", "-o", "%A %j").splitlines()
    return [line.split()[0] for line in lines if "lab-pilot-" in line]


def rest_of(slurm: SlurmCluster) -> dict[str, str]:
    """The other way in than that by which the pilots were ordered."""
    return {
        "way": "rest",
        "address": f"unix:{slurm.rest_socket}",
        "token_command": "scontrol token lifespan=3600",
    }


def readable_by_others(base: Path, secret: bytes) -> list[Path]:
    """Files with the secret that those who own neither them nor a directory above could read."""
    return [
        path
        for path in base.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and all(each.stat().st_mode & stat.S_IXOTH for each in path.parents if each.is_relative_to(base))
        and path.stat().st_mode & stat.S_IROTH
        and secret in path.read_bytes()
    ]
