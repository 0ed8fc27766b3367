"""`hal dev`, killed: with `--state` what it left belongs to the next one, without nothing is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import COMMAND, environment, hal
from tests.support.hal_connection import HalConnection
from tests.support.ports import free_port


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    for pid in processes_of(tmp_path / "state"):
        os.kill(pid, signal.SIGKILL)


def processes_of(state: Path) -> list[int]:
    """Agents, spawners and supervisors of that state directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.startswith(f"{state}/") for word in words):
            found.append(int(entry.parent.name))
    return found


def test_without_a_state_directory_everything_ends_when_it_is_killed(tmp_path: Path) -> None:
    """Agents, spawner and jobs: nobody would ever find them again."""
    socket, address = tmp_path / "hal.sock", f"127.0.0.1:{free_port()}"
    service = subprocess.Popen(
        [*COMMAND, "dev", "--socket", str(socket), "--address", address],
        env=environment(socket) | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert service.stdout is not None
    assert "is ready" in service.stdout.readline()
    assert hal(socket, "page").out.startswith(f"http://{address}/#token=hal1.")
    job_id = hal(socket, "submit", "--parsable", "-o", "/dev/null", "--", "sleep", "1000").out.strip()
    with HalConnection(socket) as connection:
        assert connection.get(f"/v1/jobs/{job_id}?wait=started&timeout_s=60")["state"] == "RUNNING"
    watched = [os.pidfd_open(pid) for pid in processes_of(tmp_path) if pid != service.pid]
    assert len(watched) >= 3, "an agent, a spawner and a supervisor"
    end(service, signal.SIGKILL)
    for pidfd in watched:
        ended, _, _ = select.select([pidfd], [], [], 30)
        os.close(pidfd)
        assert ended, "a process outlived a killed `hal dev` that nobody can take over"


def test_what_the_first_command_of_the_readme_shows_ends_as_it_should(tmp_path: Path) -> None:
    """`make run`: the first that anybody sees of HAL."""
    done = subprocess.run(
        [*COMMAND, "demo"],
        env=environment(tmp_path / "none.sock") | {"TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " NO: " not in done.stdout
    assert done.stdout.endswith("The cluster is gone again; nothing was left behind.\n")


def test_a_pool_of_pretended_machines_serves_what_the_one_node_cannot_and_leaves_nothing(state: Path) -> None:
    service = start(state, "--cloud")
    socket = state.parent / "hal.sock"
    for _ in range(2):
        assert hal(socket, "submit", "--time", "5", "-o", "/dev/null", "--", "sleep", "1000").code == 0
    with HalConnection(socket) as connection:
        for job_id in (1, 2):
            assert connection.get(f"/v1/jobs/{job_id}?wait=started&timeout_s=60")["state"] == "RUNNING"
        nodes = connection.get("/v1/jobs/2")["nodes"]
    assert nodes.startswith("rented")
    end(service, signal.SIGINT)
    assert processes_of(state) == []


def start(state: Path, *words: str) -> subprocess.Popen[str]:
    """`hal dev`, ready."""
    socket = state.parent / "hal.sock"
    service = subprocess.Popen(
        [*COMMAND, "dev", "--state", str(state), "--socket", str(socket), *words],
        env=environment(socket), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert service.stdout is not None
    assert "is ready" in (line := service.stdout.readline()), line + service.stdout.read()
    return service


def end(service: subprocess.Popen[str], number: signal.Signals) -> None:
    service.send_signal(number)
    service.communicate(timeout=60)


@pytest.mark.parametrize("second_cpus", ["2", "3"])
def test_agents_that_outlived_a_killed_dev_end_with_the_next_one(state: Path, second_cpus: str) -> None:
    """With the same nodes their jobs go on; with others they cannot, and the new nodes are there."""
    socket, may_end = state.parent / "hal.sock", state.parent / "may-end"
    os.mkfifo(may_end)
    first = start(state, "--cpus", "2")
    job_id = hal(socket, "submit", "--parsable", "-o", "/dev/null", "--", "cat", str(may_end)).out.strip()
    with HalConnection(socket) as connection:
        assert connection.get(f"/v1/jobs/{job_id}?wait=started&timeout_s=60")["state"] == "RUNNING"
    end(first, signal.SIGKILL)
    assert processes_of(state)
    second = start(state, "--cpus", second_cpus)
    assert f'"cpu_count":{second_cpus}' in hal(socket, "nodes", "--json").out.replace(" ", "")
    if second_cpus == "2":
        may_end.write_text("")
        assert hal(socket, "logs", "-f", job_id).code == 0
        assert "COMPLETED" in hal(socket, "show", job_id).out
    end(second, signal.SIGINT)
    assert processes_of(state) == []


def test_a_second_one_on_the_same_state_touches_nothing(state: Path) -> None:
    socket = state.parent / "hal.sock"
    first = start(state, "--cpus", "2")
    job_id = hal(socket, "submit", "--parsable", "-o", "/dev/null", "--", "sleep", "1000").out.strip()
    with HalConnection(socket) as connection:
        assert connection.get(f"/v1/jobs/{job_id}?wait=started&timeout_s=60")["state"] == "RUNNING"
    before = processes_of(state)
    other = state.parent / "other.sock"
    refused = hal(other, "dev", "--state", str(state), "--socket", str(other), "--cpus", "2")
    assert (refused.code, "in use" in refused.err) == (1, True), refused
    assert set(before) <= set(processes_of(state))
    assert hal(socket, "cancel", job_id).code == 0
    end(first, signal.SIGINT)
    assert processes_of(state) == []


def test_an_agent_that_ends_is_started_again_with_its_jobs_but_not_for_ever(state: Path) -> None:
    socket, may_end = state.parent / "hal.sock", state.parent / "may-end"
    os.mkfifo(may_end)
    service = start(state, "--cpus", "2")
    assert service.stdout is not None
    job_id = hal(socket, "submit", "--parsable", "-o", "/dev/null", "--", "cat", str(may_end)).out.strip()
    with HalConnection(socket) as connection:
        assert connection.get(f"/v1/jobs/{job_id}?wait=started&timeout_s=60")["state"] == "RUNNING"
    kill_agent(state)
    while "agent of node" not in (line := service.stdout.readline()):
        assert line, "hal dev ended"
    assert "was started again" in line
    may_end.write_text("")
    assert hal(socket, "logs", "-f", job_id).code == 0
    assert "COMPLETED" in hal(socket, "show", job_id).out
    for _ in range(20):
        kill_agent(state)
        if "ends again and again" in (line := service.stdout.readline()):
            break
        assert "was started again" in line, line
    service.communicate(timeout=60)
    assert service.returncode == 1
    assert "ends again and again" in line


def kill_agent(state: Path) -> None:
    """The one that runs; when another is announced, its pid has been noted."""
    (path,) = (state / "nodes").glob("*/agent.pid")
    os.kill(int(path.read_text()), signal.SIGKILL)
