"""What happens to a session is on record in a real daemon: once, in order, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal

import pytest

from hal_core.client import attach, session
from tests.support import tasks
from tests.support.cli import hal
from tests.support.hal import HalCluster
from tests.support.hal_services import DAEMON, HalServices

WAIT_S_MAX = 90.0


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def changes(cluster, session_id):
    """As everybody may read them, the oldest first."""
    lines = shown(cluster, "events", "--session", session_id, "--json").out.splitlines()
    return [json.loads(line)["data"]["change"] for line in lines]


def kinds(cluster, session_id):
    return [change["kind"] for change in changes(cluster, session_id)]


def shown(cluster, *words):
    return hal(cluster.socket, *words, env={"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]})


def test_the_life_of_a_session_is_told_from_its_opening_to_its_end():
    with HalCluster(node_count=1, cpus=2) as cluster:
        with session(workers=2, server=str(cluster.socket)) as opened:
            with pytest.raises(Exception, match="set aside"):
                list(opened.map(tasks.die_at, [(number, 3) for number in range(6)]))
            assert shown(cluster, "session", "set", opened.id, "--priority", "-3").code == 0
            cluster.tree.until(
                "the daemon knows", lambda: "settings_changed" in kinds(cluster, opened.id), WAIT_S_MAX, interval_s=0.2
            )
            life = json.loads(shown(cluster, "session", "show", opened.id, "--json").out)["life"]
            assert life[0]["kind"] == "opened"
            text = shown(cluster, "session", "show", opened.id).out
            assert "set otherwise: priority -3" in text
            assert "1 task set aside because workers died: task 3" in text
        told = changes(cluster, opened.id)
        assert [each["number"] for each in told] == list(range(1, len(told) + 1))
        assert (told[0]["kind"], told[-1]["kind"]) == ("opened", "closed")
        assert (told[-1]["done_count"], told[-1]["dropped_count"]) == (5, 1)
        assert cluster.get("/v1/sessions")["sessions"] == [], "it is gone at once, not when it was silent for long"


def test_nothing_is_lost_or_doubled_while_daemon_and_broker_are_killed():
    with HalServices(node_count=1, cpus=2) as cluster:
        opened = session(workers=1, recoverable=True, server=str(cluster.socket))
        assert opened.submit(tasks.square, 5).result(timeout=60) == 25
        cluster.tree.until(
            "the daemon knows", lambda: "workers_joined" in kinds(cluster, opened.id), WAIT_S_MAX, interval_s=0.2
        )
        cluster.kill(DAEMON)
        os.kill(opened.broker_pid, signal.SIGKILL)
        assert opened.submit(tasks.square, 6).result(timeout=60) == 36, "it does without the daemon"
        cluster.start_service(DAEMON)
        cluster.wait_until_ready()
        cluster.tree.until(
            "it knows the rest", lambda: "recovered" in kinds(cluster, opened.id), WAIT_S_MAX, interval_s=0.2
        )
        left = opened.leave()
        cluster.tree.until("all is done", lambda: kinds(cluster, left)[-1] == "parked", WAIT_S_MAX, interval_s=0.2)
        assert "rests until somebody comes back to it, 2 tasks done" in shown(cluster, "session", "show", left).out
        with attach(left) as again:
            assert list(again.results()) == [25, 36]
        told = changes(cluster, left)
        assert [each["number"] for each in told] == list(range(1, len(told) + 1))
        names = [each["kind"] for each in told]
        assert names[0] == "opened"
        assert names[-1] == "closed"
        assert names.count("recovered") == 2
        assert {"client_left", "client_returned", "draining"} <= set(names)
