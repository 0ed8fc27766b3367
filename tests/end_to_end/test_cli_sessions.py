"""`hal map`, `hal sessions` and `hal session`, as whole processes with real brokers."""

from __future__ import annotations

import json
import os
import time

import pytest

from hal_core.client import attach, session
from hal_core.client.session_directory import known_sessions
from hal_core.errors import NotFound, SessionError
from tests.support import tasks
from tests.support.cli import hal
from tests.support.hal import HalCluster
from tests.support.hal_services import HalServices


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def ours(*words, **options):
    return hal("/no/daemon", *words, env={"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}, **options)


def test_map_runs_the_command_for_each_line_and_keeps_their_order():
    lines = b"".join(b"%d\n" % number for number in range(200))
    done = ours("map", "--local", "-j", "2", "--", "sh", "-c", 'echo "item {}"', input=lines)
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"item {number}\n" for number in range(200))
    assert ours("map", "--local", "echo", "-n", input=b"a b\nc\n").out == "a bc"
    assert known_sessions(os.environ) == []


def test_map_tells_which_commands_failed():
    done = ours("map", "--local", "sh", "-c", "exit {}", input=b"0\n3\n")
    assert (done.code, done.out) == (1, "")
    assert done.err == "hal: 3: exit code 3\n"
    assert ours("map", "--local", "-q", "sh", "-c", "exit {}", input=b"3\n").err == ""


def test_map_says_what_it_needs():
    assert "map needs a command" in ours("map").err
    assert ours("map", "--workers", "0", "true").err == "hal: --workers: 0 is too few; give 1 or more\n"
    done = ours("map", "--local", "/no/such", input=b"x\n")
    assert (done.code, "cannot be started: " in done.err) == (1, True)


def test_map_through_a_daemon_is_a_job():
    with HalCluster() as cluster:
        done = hal(cluster.socket, "map", "-j", "2", "--job-name", "mine", "sh", "-c", "echo $HAL_JOB_NAME {}",
                   env={"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}, input=b"1\n2\n")  # fmt: skip
    assert (done.code, done.out, done.err) == (0, "mine 1\nmine 2\n", "")


def test_a_session_says_what_its_nodes_have_cost_so_far():
    services = HalServices(cpus=4, more_of_partition="    money_per_cpu_hour: 3600")
    with (
        services as cluster,
        session(workers=1, server="local") as local,
        session(workers=2, server=str(cluster.socket)) as opened,
    ):
        assert list(opened.map(tasks.square, range(10)))[-1] == 81
        assert list(local.map(tasks.square, range(10)))[-1] == 81
        rows = {each["session"]: each for each in json.loads(ours("sessions", "--json").out)["sessions"]}
        job = cluster.get("/v1/jobs")["jobs"][0]
        ran_s = time.time() - job["submit_time_s"]
        assert 0 < rows[opened.id]["money"] < 2 * ran_s, "each of two CPUs costs 1 a second"
        assert (rows[opened.id]["job_ids"], rows[local.id]["money"]) == ([job["job_id"]], None)
        lines = {line.split()[0]: line.split() for line in ours("sessions").out.splitlines()}
        assert (lines["SESSION"][-1], lines[local.id][-1]) == ("COST", "-")
        assert float(lines[opened.id][-1]) >= round(rows[opened.id]["money"], 2)
        (cost,) = [line for line in ours("session", "show", opened.id).out.splitlines() if line.startswith("Cost")]
        assert float(cost.split()[1]) >= float(lines[opened.id][-1])
        cluster.kill("daemon")
        assert ours("sessions").out.splitlines()[1].split()[-1] == "-", "nobody can tell, and the rest is told"
        cluster.start_service("daemon")
        cluster.wait_until_ready()


def test_sessions_are_listed_shown_drained_and_cancelled():
    heads = "SESSION STATE WORKERS WAITING RUNNING DONE FAILED RATE LEFT COST"
    assert " ".join(ours("sessions").out.split()) == heads
    opened = session(workers=1, recoverable=True, server="local")
    assert list(opened.map(tasks.square, range(100)))[-1] == 9801
    (row,) = json.loads(ours("sessions", "--json").out)["sessions"]
    assert (row["session"], row["worker_count"], row["done_count"], row["waiting_count"]) == (opened.id, 1, 100, 0)
    assert f"{opened.id}  runs" in ours("sessions").out
    shown = ours("session", "show", opened.id[:6])
    assert (shown.code, "100, 0 failed, 0 dropped" in shown.out) == (0, True)
    assert ours("session", "drain", opened.id).out == f"{opened.id} drains\n"
    with pytest.raises(SessionError, match="drained from outside"):
        opened.submit(tasks.square, 1).result(timeout=30)
    opened.leave()
    assert f"{opened.id}  stopped" in ours("sessions").out
    life = [line.split(maxsplit=2)[2] for line in ours("session", "show", opened.id).out.split("Life")[1].splitlines()]
    assert (life[0], life[-1]) == (
        "opened",
        "closed, 100 tasks done, 0 failed, 0 dropped: the session was drained from outside",
    )
    assert "1 worker joined, it has 1" in life
    with attach(opened.id) as again:
        assert len(list(again.results())) == 100
        assert ours("session", "cancel", opened.id).out == f"{opened.id} cancelled\n"
    with pytest.raises(NotFound):
        attach(opened.id)


def test_tags_are_shown_moved_and_cancelled():
    with session(workers=1, server="local") as opened:
        assert list(opened.using(tags="sweep").map(tasks.square, range(100)))[-1] == 9801
        assert "0 left, 100 done, 0 failed, 0 dropped" in ours("session", "show", opened.id).out
        (row,) = json.loads(ours("sessions", "--json").out)["sessions"]
        assert row["tags"]["sweep"] == {"left_count": 0, "done_count": 100, "failed_count": 0, "dropped_count": 0}
        done = ours("session", "set", opened.id, "--tag", "sweep", "--priority", "-3")
        assert (done.code, done.out) == (0, f"{opened.id} has priority -3 for tag sweep\n")
        done = ours("session", "cancel", opened.id, "--tag", "sweep")
        assert (done.code, done.out) == (0, f"{opened.id} has no tasks of tag sweep left\n")
        assert opened.submit(tasks.square, 3).result(timeout=60) == 9, "the session goes on"
        for words, text in [
            (("set",), "session set needs one or more of --priority, --min-workers, --max-workers and --weight"),
            (("set", "--tag", "sweep", "--weight", "3"), "session set takes --priority with --tag, and nothing else"),
            (("show", "--max-workers", "3"), "session show takes no --max-workers"),
            (("set", "--max-workers", "0"), "0 is too few"),
            (("set", "--priority", "3"), "name a tag"),
            (("show", "--tag", "x"), "session show takes no --tag; cancel and set do"),
            (("drain", "--priority", "1"), "session drain takes no --priority"),
        ]:
            done = ours("session", words[0], opened.id, *words[1:])
            assert done.code in (1, 2)
            assert text in done.err


def test_a_session_that_is_not_there_is_told_in_words():
    done = ours("session", "show", "abc")
    assert (done.code, done.err) == (1, "hal: you have no session 'abc'; `hal sessions` lists them\n")
    done = ours("session", "drian", "abc")
    assert (done.code, "did you mean 'drain'" in done.err) == (2, True)
