"""Sessions whose workers are a job of a real daemon: placed, replaced, ended, and none of it left behind."""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from hal_core.client import Client, JobRequest, attach, session
from hal_core.client.session_directory import known_sessions
from hal_core.client.session_shared import Shared
from hal_core.client.session_visit import adjust
from hal_core.client.sessions import server_of
from hal_core.errors import InvalidInput, Refused, SessionError, TaskFailed
from hal_core.wire.sessions import Adjust
from tests.support import tasks
from tests.support.cli import hal
from tests.support.gate import Gate
from tests.support.hal import HalCluster

WAIT_S_MAX = 90.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    with HalCluster(node_count=2, cpus=2) as running:
        yield running


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def job_of(client, opened):
    (job,) = [each for each in client.queue() if each.name == f"session-{opened.id}"]
    return job


def test_workers_are_a_job_that_ends_with_the_session(cluster):
    with Client(str(cluster.socket)) as client:
        with session(workers=3, server=str(cluster.socket)) as opened:
            assert list(opened.map(tasks.square, range(20_000))) == [number * number for number in range(20_000)]
            job = job_of(client, opened)
            assert job.element_count == 3
        view = client.wait(job.job_id, timeout_s=60)
        assert view.has_ended
        assert view.counts.get("FAILED", 0) == 0
    assert known_sessions(os.environ) == []


def test_the_daemon_is_told_how_a_session_does(cluster):
    with session(workers=1, server=str(cluster.socket)) as opened:
        assert list(opened.map(tasks.square, range(100))) == [number * number for number in range(100)]
        end_s = time.monotonic() + WAIT_S_MAX
        told: dict[str, int] = {}
        while told.get(opened.id) != 100:
            assert time.monotonic() < end_s, f"session {opened.id} did not tell of 100 in {WAIT_S_MAX} s, only {told}"
            threading.Event().wait(0.1)
            sessions = cluster.get("/v1/sessions")["sessions"]
            told = {each["session"]: each["figures"]["done_count"] for each in sessions}


def test_no_task_sees_the_secret_and_no_command_line_has_it(cluster):
    with session(workers=1, server=str(cluster.socket)) as opened:
        assert "HAL_SESSION_ORDER" not in opened.submit(tasks.environment).result(timeout=60)
        assert opened.submit(tasks.environment).result(timeout=60)["HAL_JOB_NAME"] == f"session-{opened.id}"
        words = opened.submit(tasks.command_line).result(timeout=60)
        assert "secret" not in words
        assert "authority" not in words


def test_workers_that_cannot_all_run_at_once_come_when_there_is_room(cluster):
    with Client(str(cluster.socket)) as client:
        with session(workers=9, server=str(cluster.socket)) as opened:
            assert list(opened.map(tasks.square, range(100))) == [number * number for number in range(100)]
            job = job_of(client, opened)
        assert client.wait(job.job_id, timeout_s=60).has_ended, "those that never started are cancelled"


def test_a_worker_that_is_killed_is_missed_by_nobody(cluster):
    with session(workers=2, server=str(cluster.socket)) as opened:
        pid = opened.submit(os.getpid).result(timeout=60)
        results = opened.map(tasks.square, range(1000))
        os.kill(pid, signal.SIGKILL)
        assert list(results) == [number * number for number in range(1000)]


def test_a_worker_that_is_asked_to_go_finishes_its_task_and_gives_back_the_others(cluster, tmp_path):
    gate = Gate(tmp_path)
    job = {"kill-grace": "5m"}
    with Client(str(cluster.socket)) as client, session(workers=1, server=str(cluster.socket), job=job) as opened:
        future = opened.submit(tasks.wait_at, gate.address)
        pid = gate.wait_for_one()
        more = [opened.submit(os.getpid) for _ in range(5)]
        client.requeue(job_of(client, opened).job_id)
        cluster.tree.until("the worker says that it leaves", lambda: opened.figures().worker_count == 0, WAIT_S_MAX)
        gate.open()
        assert future.result(timeout=60) == pid
        assert {each.result(timeout=120) for each in more} != {pid}, "its job was queued again, and does the others"
        assert opened.figures().dropped_count == 0


def test_common_data_reaches_a_node_that_does_not_see_the_sessions_directory(cluster, tmp_path):
    """As on another machine: what the workers are told is a directory that is not there, and they ask the broker."""
    with session(workers=2, server=str(cluster.socket)) as opened:
        table = opened.share(list(range(1000)))
        elsewhere = Shared(tmp_path / opened.id, table._key, table.value, 1, table._digest)
        assert opened.submit(sum, elsewhere).result(timeout=60) == 499500
        assert list(opened.map(partial(tasks.item_of, elsewhere), range(1000))) == list(range(1000))


def test_a_task_that_ends_workers_is_set_aside_on_nodes_too(cluster):
    with session(workers=1, server=str(cluster.socket)) as opened:
        results = opened.map(tasks.die_at, [(number, 3) for number in range(6)])
        with pytest.raises(TaskFailed, match="set aside"):
            results[3]
        assert [results[at] for at in range(6) if at != 3] == [0, 1, 2, 4, 5]


def test_the_priority_of_the_workers_job_is_set_from_outside(cluster):
    # As many as there are CPUs would leave nothing waiting.
    with Client(str(cluster.socket)) as client, session(workers=9, server=str(cluster.socket)) as opened:
        opened.submit(os.getpid).result(timeout=60)
        adjust(os.environ, opened.id, Adjust(priority=-7))
        assert job_of(client, opened).priority == -7
        with pytest.raises(Refused, match=r"session .*: priority: .*1000000"):
            opened.adjust(priority=1_000_001)
    with session(workers=1, server="local") as opened:
        opened.figures()
        with pytest.raises(Refused, match="name a tag"):
            opened.adjust(priority=-7)


def test_a_session_grows_and_shrinks_while_it_works_and_its_weight_is_changed(cluster):
    """Four CPUs. What goes are workers of which most have never come, and the session does not end with their jobs."""
    with Client(str(cluster.socket)) as client, session(workers=1, server=str(cluster.socket)) as opened:
        stream = opened.stream(tasks.square, iter(int, 1), in_order=False)
        assert next(stream) == 0

        def has(count):
            cluster.tree.until(f"{count} workers", lambda: opened.figures().worker_count == count, WAIT_S_MAX)

        opened.adjust(max_workers=9)
        has(4)
        figures = opened.figures()
        assert (figures.worker_count_min, figures.worker_count_max, figures.weight) == (1, 9, 1)
        opened.adjust(weight=5)
        (weighty,) = [each for each in client.queue(name=f"session-{opened.id}") if each.element_count == 8]
        told = hal(cluster.socket, "events", "--job", str(weighty.job_id)).out
        assert told.count("WeightChanged") == 1
        assert "weight=5" in told
        opened.adjust(min_workers=2, max_workers=2)
        has(2)
        assert opened.figures().weight == 0
        opened.adjust(min_workers=0, max_workers=3)
        has(3)
        opened.adjust(min_workers=1, max_workers=1)
        has(1)
        with pytest.raises(Refused, match=r"workers: at least 5 is more than at most 3"):
            opened.adjust(min_workers=5, max_workers=3)
        with pytest.raises(Refused, match=r"weight: it has no elastic workers"):
            opened.adjust(weight=2)
        with pytest.raises(InvalidInput, match=r"weight: 'much' is not a whole number"):
            opened.adjust(weight="much")
        assert opened.figures().failed_count == opened.figures().dropped_count == 0
        stream.close()
        opened.cancel()


def test_a_broker_that_comes_back_has_the_size_that_was_set(cluster):
    state = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
    with session(workers=1, recoverable=True, server=str(cluster.socket)) as opened:
        worker = opened.submit(os.getpid).result(timeout=60)
        done = hal(cluster.socket, "session", "set", opened.id, "--min-workers", "2", "--max-workers", "3", env=state)
        assert done.out == f"{opened.id} has 2 to 3 workers\n"
        cluster.tree.until("they come", lambda: opened.figures().worker_count == 3, WAIT_S_MAX)
        os.kill(opened.broker_pid, signal.SIGKILL)
        assert opened.submit(tasks.square, 3).result(timeout=60) == 9
        cluster.tree.until("they dial again", lambda: opened.figures().worker_count == 3, WAIT_S_MAX)
        figures = opened.figures()
        assert (figures.worker_count_min, figures.worker_count_max, len(figures.job_ids)) == (2, 3, 3)
        opened.adjust(min_workers=1, max_workers=1)
        cluster.tree.until("one is left", lambda: opened.figures().worker_count == 1, WAIT_S_MAX)
        assert opened.submit(os.getpid).result(timeout=60) == worker, "the first one is the last that goes"


def test_elastic_workers_fill_the_cluster_and_go_when_a_job_comes(cluster):
    """Four CPUs: one worker in any case, three elastic ones, and a job that needs all but that one."""
    with Client(str(cluster.socket)) as client:
        with session(workers=1, elastic=8, server=str(cluster.socket), job={"kill-grace": "60s"}) as opened:
            stream = opened.stream(tasks.square, iter(int, 1), in_order=False)
            assert next(stream) == 0
            cluster.tree.until(
                "elastic workers in all that is free", lambda: opened.figures().worker_count == 4, WAIT_S_MAX
            )
            job_ids = [client.submit(["true"], cpus_per_task=1) for _ in range(3)]
            for job_id in job_ids:
                assert client.wait(job_id, timeout_s=60).state.value == "COMPLETED"
            cluster.tree.until("they come back", lambda: opened.figures().worker_count == 4, WAIT_S_MAX)
            assert opened.figures().failed_count == 0
            stream.close()
            opened.cancel()
        cluster.tree.until(
            "none of its jobs is left", lambda: not list(client.queue(name=f"session-{opened.id}")), WAIT_S_MAX
        )


def test_a_cancelled_job_ends_its_session_with_the_reason(cluster):
    with Client(str(cluster.socket)) as client, session(workers=1, server=str(cluster.socket)) as opened:
        opened.submit(os.getpid).result(timeout=60)
        client.cancel(job_of(client, opened).job_id)
        endless = opened.stream(tasks.square, iter(int, 1))
        with pytest.raises(SessionError, match=r"job \d+ of the session's workers has ended: cancelled"):
            sum(endless)


def test_a_killed_broker_finds_its_job_again(cluster):
    with session(workers=1, recoverable=True, server=str(cluster.socket)) as opened:
        worker = opened.submit(os.getpid).result(timeout=60)
        os.kill(opened.broker_pid, signal.SIGKILL)
        assert opened.submit(os.getpid).result(timeout=60) == worker, "the same worker, which dialled again"


def test_who_comes_back_when_the_workers_have_gone_has_the_results_and_new_workers(cluster):
    """They go when all is done that there was, and nobody is there to want more."""
    with Client(str(cluster.socket)) as client:
        opened = session(workers=1, recoverable=True, server=str(cluster.socket))
        assert opened.submit(tasks.square, 5).result(timeout=60) == 25
        first = job_of(client, opened).job_id
        left = opened.leave()
        assert client.wait(first, timeout_s=60).state.value == "COMPLETED"
        with attach(left) as again:
            assert list(again.results()) == [25]
            assert not list(client.queue(name=f"session-{left}")), "who only wants results needs no worker"
            assert again.submit(tasks.square, 6).result(timeout=60) == 36
            assert job_of(client, again).job_id != first


def test_a_job_that_is_refused_is_told_with_the_reason(cluster):
    with session(workers=1, server=str(cluster.socket), job={"partition": "nowhere"}) as opened:
        future = opened.submit(os.getpid)
        with pytest.raises(SessionError, match="nowhere"):
            future.result(timeout=60)


def test_a_daemon_that_is_not_there_is_told_however_soon_that_is_known(tmp_path, monkeypatch):
    """Without patience, the broker knows it before it has heard from its client."""
    monkeypatch.setenv("HAL_SESSION_PATIENCE_S", "0")
    told = pytest.raises(SessionError, match=r"no workers: cannot reach the daemon at .*nobody\.sock")
    with session(workers=1, server=str(tmp_path / "nobody.sock")) as opened, told:
        opened.submit(os.getpid).result(timeout=60)


ALLOCATED = """
import os
from hal_core.client import session

def place(number):
    return os.environ["HAL_NODE_NAME"], os.environ["HAL_TASK_RANK"]

with session(server="allocation") as s:
    while s.figures().worker_count < 3:
        pass
    places = set()
    while len(places) < 3:
        places.update(s.map(place, range(300)))
    print(sorted(places))
"""


def test_in_a_job_of_several_tasks_the_first_has_the_session_and_the_others_work_for_it(cluster, tmp_path):
    program, output = tmp_path / "sweep.py", tmp_path / "output"
    program.write_text(ALLOCATED)
    with Client(str(cluster.socket)) as client:
        words = [sys.executable, str(program)]
        environment = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"], "PYTHONPATH": str(ROOT)}
        options = {"ntasks": 3, "ntasks-per-node": 2, "spread": "task", "output": str(output)}
        request = JobRequest(words, options=options, environment=[f"{n}={v}" for n, v in environment.items()])
        view = client.wait(client.submit(request), timeout_s=90)
        assert view.state.value == "COMPLETED", output.read_text()
        places = ast.literal_eval(output.read_text())
        assert sorted(rank for _, rank in places) == ["0", "1", "2"]
        assert {node for node, _ in places} == {"n1", "n2"}
    assert not list((tmp_path / "state" / "hal" / "allocations").iterdir())


def test_outside_of_a_job_there_is_no_allocation_to_work_in():
    with pytest.raises(InvalidInput, match=r"server: 'allocation' is for programs that run in a job of HAL; it needs"):
        session(server="allocation")


def test_a_session_waits_for_a_daemon_that_is_away_says_so_and_goes_on_when_it_is_back(cluster, tmp_path, caplog):
    """Its address leads nowhere first."""
    address = tmp_path / "hal.sock"
    with session(workers=1, server=str(address)) as opened:
        future = opened.submit(tasks.square, 3)
        cluster.tree.until("it says what it waits for", lambda: caplog.messages, WAIT_S_MAX)
        assert opened.figures().trouble.startswith(
            f"waits for its daemon, at most 900 s: cannot reach the daemon at {address}"
        )
        state = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
        assert "it waits for its daemon" in hal(cluster.socket, "session", "show", opened.id, env=state).out
        address.symlink_to(cluster.socket)
        assert future.result(timeout=WAIT_S_MAX) == 9
        assert opened.figures().trouble == ""
    started, ended = caplog.messages
    assert started.startswith(f"session {opened.id} waits for its daemon")
    assert ended == f"session {opened.id} waits no longer: its daemon is back"


def test_which_daemon_is_meant(tmp_path):
    nobody = {"HOME": str(tmp_path)}
    assert server_of("local", {"HAL_SERVER": "/x.sock"}) == ""
    assert server_of("unix:/x.sock", nobody) == "/x.sock"
    assert server_of(None, {**nobody, "HAL_SERVER": "/x.sock"}) == "/x.sock"
    with pytest.raises(InvalidInput, match="job: its options need a daemon"):
        session(workers=1, server="local", job={"partition": "main"})


def test_a_node_on_which_tasks_fail_is_blocked_and_everybody_can_see_why(cluster):
    with session(workers=4, server=str(cluster.socket)) as opened:
        cluster.tree.until("all workers are there", lambda: opened.figures().worker_count == 4, WAIT_S_MAX)
        names = sorted(each.name for each in opened.figures().hosts)
        bad, good = names
        assert set(opened.using(retries=3).map(tasks.fail_on, [bad] * 3000)) == {good}
        figures = opened.figures()
        blocked = {each.name: each.blocked_why for each in figures.hosts if each.blocked_why}
        assert list(blocked) == [bad]
        assert "tasks failed there" in blocked[bad]
        assert figures.failed_count == 0
        shown = hal(cluster.socket, "session", "show", opened.id, env={"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]})
        assert f"Node {bad}" in shown.out
        assert "blocked: " in shown.out
