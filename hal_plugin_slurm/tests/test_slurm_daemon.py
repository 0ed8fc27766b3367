"""A real daemon whose nodes are those of a real Slurm: as a site uses it, through `hal`, with kills in between."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

import attrs
import pytest

from tests.support.hal_services import DAEMON, HalServices
from tests.support.slurm import SlurmCluster


@attrs.define(kw_only=True)
class HalOverSlurm(HalServices):
    """Only a daemon: Slurm's nodes need no agents of ours."""

    slurm: SlurmCluster
    executor: str

    @property
    def nodes(self) -> list[str]:
        return []

    def _configuration_text(self) -> str:
        text = super()._configuration_text().replace("n[1-", "n0[1-")
        return text.replace("    memory:", "    gpus: fake:2\n    executor: slurm\n    memory:") + self.executor


@pytest.fixture(params=["commands", "rest"])
def hal(request: pytest.FixtureRequest, slurm: SlurmCluster) -> Iterator[HalOverSlurm]:
    lines = [f"configuration: {slurm.layout.configuration}", f"programs: '{slurm.programs}'"]
    lines += ["partitions: {main: normal}", "answer_timeout_s: 5.0"]
    lines += ["poll_s_min: 0.3", "poll_s_max: 2.0", "vanish_s: 20.0", "usage_s: 60.0"]
    if request.param == "rest":
        lines += ["way: rest", f'address: "unix:{slurm.rest_socket}"', "token_command: scontrol token lifespan=3600"]
    section = "executors:\n  slurm:\n" + "".join(f"    {line}\n" for line in lines)
    with HalOverSlurm(node_count=4, cpus=8, slurm=slurm, executor=section) as cluster:
        yield cluster


def test_jobs_survive_kills_of_hal_and_of_slurm(hal: HalOverSlurm, slurm: SlurmCluster) -> None:
    """Dependencies and arrays too; then Slurm has run each once, and HAL says of each what Slurm says."""
    hal.work.chmod(0o777)
    before = slurm.count_of_ends()
    jobs = [hal.submit("sh", "-c", f"sleep {number % 3}; exit {number % 4}") for number in range(6)]
    after = hal.submit("true", options=[("dependency", f"afterok:{jobs[0]}"), ("time", "5")])
    never = hal.submit("true", options=[("dependency", f"afterok:{jobs[1]}"), ("time", "5")])
    hal.submit("sh", "-c", "exit $((HAL_ARRAY_INDEX % 2))", options=[("array", "0-9")])
    hal.kill(DAEMON)
    slurm.kill("slurmctld", signal.SIGTERM)
    hal.start_service(DAEMON)
    slurm.start("slurmctld")
    hal.wait_until_ready()
    hal.wait_until_done(timeout_s=180)
    states = [hal.get(f"/v1/jobs/{job_id}")["state"] for job_id in (*jobs, after, never)]
    assert states[:6] == ["COMPLETED", "FAILED", "FAILED", "FAILED", "COMPLETED", "FAILED"]
    assert states[6:] == ["COMPLETED", "CANCELLED"]
    assert Counter(each.state for each in slurm.jobs_ended()[before:]) == {"COMPLETED": 3 + 5, "FAILED": 4 + 5}
    assert (hal.counts()["COMPLETED"], hal.counts()["FAILED"]) == (3 + 5, 4 + 5)
    used_s = [each["cpu_s"] for each in hal.get("/v1/history?limit=100")["entries"] if each["start_time_s"]]
    assert len(used_s) == 17
    assert all(cpu_s is not None and 0 <= cpu_s < 10 for cpu_s in used_s), "from Slurm's accounting"


def test_the_plugin_and_its_nodes_are_shown(hal: HalOverSlurm) -> None:
    assert "slurm" in hal.run("plugins").stdout
    assert hal.run("nodes").stdout.count("fake") == 4


@attrs.define(kw_only=True)
class TwoSites(HalOverSlurm):
    """Half of the nodes are one site and half another: to HAL they are two Slurms, each with a name of its own."""

    def _configuration_text(self) -> str:
        text = super()._configuration_text().partition("executors:\n")[0]
        own = text.partition("nodes:\n")[2].partition("partitions:\n")[0]
        other = own.replace("n0[1-4]", "n0[3-4]").replace("executor: slurm", "executor: south")
        text = text.replace(own, own.replace("n0[1-4]", "n0[1-2]") + other)
        text = text.replace("    nodes: n0[1-4]\n", "    nodes: n0[1-2]\n")
        text = text.replace("listen:\n", "  - {name: south, nodes: 'n0[3-4]'}\nlisten:\n")
        paces = "poll_s_min: 0.3, poll_s_max: 0.5, view_s: 0.3"
        found = f"configuration: {self.slurm.layout.configuration}, programs: '{self.slurm.programs}'"
        ways = f"way: commands, {found}, {paces}"
        south = f"  south: {{plugin: slurm, {ways}, partitions: {{south: normal}}}}\n"
        return f"{text}executors:\n  slurm: {{{ways}, partitions: {{main: normal}}}}\n{south}"


@pytest.fixture
def two_sites(slurm: SlurmCluster) -> Iterator[TwoSites]:
    with TwoSites(node_count=4, cpus=8, slurm=slurm, executor="") as cluster:
        yield cluster


@pytest.fixture
def taken(slurm: SlurmCluster) -> Iterator[None]:
    """A job has the nodes of the first site for an hour, and a reservation, which begins meanwhile, for two more."""
    words = ("--exclusive", "--nodelist=n01,n02", "-N2", "--time=60", "-o", "/dev/null", "--wrap", "sleep 3600")
    other = str(slurm.submit(*words))
    try:
        runs = ("squeue", "-h", "-j", other, "-o", "%T")
        slurm.tree.until("it has them", lambda: slurm.run(*runs).strip() == "RUNNING", 60, [])
        kept = ("starttime=now+50minutes", "duration=120", "nodes=n01,n02", "users=nobody", "flags=ignore_jobs")
        slurm.run("scontrol", "create", "reservation", "reservationname=course", *kept)
        yield
        slurm.run("scontrol", "delete", "reservationname=course")
    finally:
        slurm.run("scancel", other)


def test_a_job_may_run_at_either_site_and_goes_where_there_is_room(taken: None, two_sites: TwoSites) -> None:
    """Others have the nodes of the first one; how long it would wait there is told; it goes elsewhere."""
    hal = two_sites
    hal.work.chmod(0o777)
    request = {"command": ["true"], "options": [["where", "any"], ["time", "5"]]}

    def waits_s() -> dict[str, float]:
        return {each["site"]: each["queue_s"] for each in hal.post("/v1/forecasts", request)["variants"]}

    def is_seen() -> bool:
        return waits_s()["slurm"] > 3 * 3000 and waits_s()["south"] == 0.0

    hal.tree.until("the queue of others is seen", is_seen, 60, hal.watched)
    either = [("where", "any"), ("time", "5")]
    ids = [hal.submit("true", options=either), hal.submit("true", options=[*either, ("array", "0-9")])]
    hal.wait_until_done(timeout_s=120)
    jobs = [hal.get(f"/v1/jobs/{job_id}") for job_id in ids]
    assert [(job["state"], job["partition"]) for job in jobs] == [("COMPLETED", "south")] * 2
