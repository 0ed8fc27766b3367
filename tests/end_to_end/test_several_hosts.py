"""The daemon on one host, agents on others, over TLS: links are cut and restored, keys misused, nodes lost.

Jobs write a ledger of their own: a line for each tenth of a second that an attempt lives, with the attempt's number.
What ran, where and when is judged by it and not by what HAL says.
"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.data_hosts import DataHosts
from tests.support.hal_hosts import HalHosts
from tests.support.needs import need
from tests.support.person import Person

pytestmark = pytest.mark.root

TICKS = """
while [ ! -e {stop} ]; do
    echo "$HAL_ATTEMPT $HAL_NODE_NAME $(date +%s.%N)" >> {ledger}
    sleep 0.1
done
echo done
"""


class Ledger:
    """What a job that runs until it is told to stop has written."""

    def __init__(self, hal: HalHosts) -> None:
        directory = Path(tempfile.mkdtemp(dir=hal.work))
        self.path, self.stop_path = directory / "ledger", directory / "stop"
        self.script = TICKS.format(ledger=self.path, stop=self.stop_path)

    def lines(self) -> list[tuple[int, str, float]]:
        """(attempt, node, time) in the order written. A line being written at this moment is left out."""
        text = self.path.read_text() if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [(int(attempt), node, float(time)) for attempt, node, time in map(str.split, whole)]

    def nodes(self, attempt: int) -> set[str]:
        return {node for number, node, _ in self.lines() if number == attempt}

    def stop(self) -> None:
        self.stop_path.touch()

    def check_no_overlap(self) -> None:
        """No attempt began while one before it still ran, on whatever node."""
        lines = self.lines()
        for attempt in range(2, max(number for number, *_ in lines) + 1):
            first_s = min(time for number, _, time in lines if number == attempt)
            last_s = max(time for number, _, time in lines if number < attempt)
            assert last_s < first_s, f"attempt {attempt} began {last_s - first_s:.2f} s before an earlier one ended"


@pytest.fixture(scope="module")
def patient_cluster() -> Iterator[DataHosts]:
    need(hosts.missing())
    with DataHosts(node_count=2, cpus=2) as running:
        yield running


@pytest.fixture(scope="module")
def impatient_cluster() -> Iterator[HalHosts]:
    """Gives a node up after 8 seconds."""
    need(hosts.missing())
    with HalHosts(node_count=2, cpus=2, node_timeout="8s") as running:
        yield running


@pytest.fixture
def hal(patient_cluster: DataHosts) -> DataHosts:
    patient_cluster.begin_anew()
    return patient_cluster


@pytest.fixture
def impatient(impatient_cluster: HalHosts) -> HalHosts:
    return impatient_cluster.begin_anew()


def submit(hal: HalHosts, script: str, *options: tuple[str, str]) -> int:
    return hal.submit("sh", "-c", script, options=[("time", "10"), *options])


def state_of(hal: HalHosts, job_id: int) -> str:
    return str(hal.get(f"/v1/jobs/{job_id}")["state"])


def test_a_gang_runs_on_both_hosts_and_knows_the_addresses(hal: HalHosts) -> None:
    output = ("output", f"{hal.work}/out.%N")
    job_id = submit(hal, "ip -4 -o addr show lan; env | sort", ("nodes", "2"), ("ntasks", "2"), output)
    hal.wait_until_done()
    assert state_of(hal, job_id) == "COMPLETED"
    for rank, node in enumerate(hal.nodes):
        text = (hal.work / f"out.{node}").read_text()
        assert hal.hosts.address(rank + 2) in text, "it ran in that node's network"
        assert f"\nRANK={rank}\n" in text
        assert "\nWORLD_SIZE=2\n" in text
        assert f"\nMASTER_ADDR={hal.hosts.address(2)}\n" in text


def test_a_terminal_is_on_the_other_host(hal: HalHosts) -> None:
    with Person(hal, "run", "--pty", "--", "/bin/sh", "-i") as person:
        person.see("READY> ")
        person.type("ip -4 -o addr show lan | grep -c 10.97; stty size\r")
        person.see("\r\n1\r\n40 100\r\n")
        person.die()
        hal.tree.until("it is released", lambda: hal.active_count() == 0, 30)


def test_each_byte_comes_from_afar_once(hal: DataHosts) -> None:
    """Both hosts want it at the same time: one gets it, and the other one gets it from that one."""
    content = random.Random(7).randbytes(3 << 20)
    hal.add("genome", content)
    both = ("nodes", "2"), ("ntasks", "2"), ("output", f"{hal.work}/found.%N")
    job_id = hal.submit_reader("genome", 0, *both)
    hal.wait_until_done()
    assert state_of(hal, job_id) == "COMPLETED", hal.get(f"/v1/jobs/{job_id}")
    for node in hal.nodes:
        assert (hal.work / f"found.{node}").read_text().startswith(hal.digests["genome"]), node
    hal.tree.until("the origin has noted it", lambda: sum(hal.given().values()) >= len(content), 60)
    assert sum(hal.given().values()) == len(content), hal.given()
    assert hal.get(f"/v1/jobs/{job_id}/receipt")["bytes_moved"] == 2 * len(content)


def test_a_job_goes_on_while_its_link_is_cut(hal: HalHosts) -> None:
    ledger = Ledger(hal)
    job_id = submit(hal, ledger.script, ("output", f"{hal.work}/out"))
    hal.tree.until("it runs", lambda: bool(ledger.lines()), 30)
    (node,) = ledger.nodes(1)
    hal.cut(node)
    hal.until_status(node, "suspect")
    before = len(ledger.lines())
    hal.tree.until("it goes on", lambda: len(ledger.lines()) > before + 10, 30)
    ledger.stop()
    hal.tree.until("it has ended", lambda: (hal.work / "out").read_text() == "done\n", 30)
    assert state_of(hal, job_id) == "RUNNING", "nobody could tell the daemon yet"
    hal.restore(node)
    hal.wait_until_done()
    assert state_of(hal, job_id) == "COMPLETED"
    assert {attempt for attempt, *_ in ledger.lines()} == {1}
    assert (hal.work / "out").read_text() == "done\n"


@pytest.mark.parametrize("is_agent_killed", [False, True], ids=["agent alive", "agent killed"])
def test_a_lost_job_starts_elsewhere_only_after_it_has_ended(impatient: HalHosts, is_agent_killed: bool) -> None:
    hal, ledger = impatient, Ledger(impatient)
    job_id = submit(hal, ledger.script, ("requeue", ""))
    hal.tree.until("it runs", lambda: bool(ledger.lines()), 30)
    (node,) = ledger.nodes(1)
    hal.tree.until("the guard is there", lambda: "guard.py" in _commands(hal), 30)
    hal.cut(node)
    if is_agent_killed:
        hal.kill(node)
    hal.tree.until("the next attempt runs", lambda: bool(ledger.nodes(2)), 60)
    assert ledger.nodes(2) == set(hal.nodes) - {node}
    hal.restore(node)
    if is_agent_killed:
        hal.start_service(node)
    hal.until_status(node, "up")
    ledger.stop()
    hal.wait_until_done()
    assert state_of(hal, job_id) == "COMPLETED"
    ledger.check_no_overlap()


def test_what_cannot_bear_a_restart_ends_with_its_node(impatient: HalHosts) -> None:
    hal, ledger = impatient, Ledger(impatient)
    job_id = submit(hal, ledger.script)
    hal.tree.until("it runs", lambda: bool(ledger.lines()), 30)
    (node,) = ledger.nodes(1)
    hal.cut(node)
    hal.tree.until("it is given up", lambda: state_of(hal, job_id) == "FAILED", 60)
    assert hal.get(f"/v1/jobs/{job_id}")["end"]["kind"] == "node_lost"
    hal.restore(node)
    hal.until_status(node, "up")
    hal.tree.until("what was left of it is ended", lambda: str(ledger.path) not in _commands(hal), 30)
    assert {attempt for attempt, *_ in ledger.lines()} == {1}


def test_a_gang_that_loses_a_node_starts_again_as_a_whole(impatient: HalHosts) -> None:
    hal, ledger = impatient, Ledger(impatient)
    job_id = submit(hal, ledger.script, ("nodes", "2"), ("ntasks", "2"), ("requeue", ""))
    hal.tree.until("both run", lambda: len(ledger.nodes(1)) == 2, 30)
    hal.cut("n1")
    hal.until_status("n1", "down")
    hal.tree.until("it waits", lambda: state_of(hal, job_id) == "PENDING", 30)
    hal.restore("n1")
    hal.tree.until("both run again", lambda: len(ledger.nodes(2)) == 2, 60)
    ledger.stop()
    hal.wait_until_done()
    assert state_of(hal, job_id) == "COMPLETED"
    ledger.check_no_overlap()


def test_the_key_of_one_node_opens_no_door_for_another(hal: HalHosts) -> None:
    hal.kill("n1", signal.SIGTERM)
    hal.kill("n2", signal.SIGTERM)
    hal.until_status("n2", "suspect")
    shutil.copytree(hal.node_state("n1") / "tls", hal.node_state("stolen") / "tls")
    words = ["agent", str(hal.configuration), "--node", "n2", "--state", str(hal.node_state("stolen"))]
    thief = hal.start_on(3, "thief", words)
    hal.tree.until("the alarm", lambda: 'hal_agent_alarms_total{kind="wrong_node"}' in hal.metrics(), 30)
    assert hal.status_of("n2") == "suspect"
    assert "the key of node n1 was used to speak for node n2" in hal.log.read_text()
    hal.tree.stop([thief])
    hal.start_service("n1")
    hal.start_service("n2")
    hal.wait_until_ready()


def test_a_revoked_node_is_out_at_once_and_can_join_anew(hal: HalHosts) -> None:
    hal.hal("agent", "revoke", str(hal.configuration), "n1")
    hal.until_status("n1", "suspect")
    hal.tree.until("it is refused", lambda: "shows a revoked certificate of node n1" in hal.log.read_text(), 60)
    assert hal.status_of("n2") == "up"
    hal.kill("n1", signal.SIGTERM)
    hal.enroll("n1")
    hal.start_service("n1")
    hal.wait_until_ready()


def test_daemon_and_agents_are_killed_and_nothing_is_lost(hal: HalHosts) -> None:
    ledger = Ledger(hal)
    job_id = submit(hal, ledger.script, ("nodes", "2"), ("ntasks", "2"))
    hal.tree.until("both run", lambda: len(ledger.nodes(1)) == 2, 30)
    for name in ("daemon", "n1", "n2"):
        hal.kill(name)
    for name in ("daemon", "n1", "n2"):
        hal.start_service(name)
    hal.wait_until_ready()
    ledger.stop()
    hal.wait_until_done()
    assert state_of(hal, job_id) == "COMPLETED"
    assert {attempt for attempt, *_ in ledger.lines()} == {1}


def _commands(hal: HalHosts) -> str:
    """The command lines of everything that runs."""
    found = []
    for member in hal.tree.members():
        try:
            found.append(Path(f"/proc/{member.pid}/cmdline").read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)
