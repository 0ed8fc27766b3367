"""When a client says that its broker does not answer, and when not."""

from __future__ import annotations

import logging
import os
import signal

from hal_core.client import session
from hal_core.client.session_directory import make_directory, sessions_directory
from hal_core.client.session_visit import has_broker, is_silent
from hal_core.client.session_watch import Watch
from tests.support import tasks
from tests.support.gate import Gate


class Broker:
    """What was heard of one, whether somebody waits for it, and whether it answers."""

    def __init__(self):
        self.heard, self.is_awaited, self.is_silent = 0, True, False
        self.questions = 0
        self.watch = Watch("3f9a", lambda: self.heard if self.is_awaited else None, self.ask)

    def ask(self):
        self.questions += 1
        return self.is_silent

    def look(self, times=1):
        before = None
        for _ in range(times):
            before = self.watch.look(before)


def test_a_broker_that_talks_is_not_asked(caplog):
    broker = Broker()
    before = None
    for _ in range(5):
        broker.heard += 1
        before = broker.watch.look(before)
    broker.is_awaited = False
    broker.look(3)
    assert broker.questions == 0
    assert caplog.messages == []


def test_one_that_is_quiet_is_asked_and_whoever_is_silent_is_told_of_once(caplog):
    broker = Broker()
    broker.look(5)
    assert broker.questions == 4
    assert caplog.messages == [], "its tasks take long, but it answers"
    broker.is_silent = True
    with caplog.at_level(logging.WARNING):
        before = None
        for _ in range(5):
            before = broker.watch.look(before)
        assert caplog.messages == ["the broker of session 3f9a does not answer; it may be stopped, and all wait for it"]
        broker.heard += 1
        broker.watch.look(before)
    assert caplog.messages[1:] == ["the broker of session 3f9a answers again"]


def test_a_stopped_broker_is_silent_and_a_dead_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    gate = Gate(tmp_path)
    with session(workers=1, server="local") as opened:
        future = opened.submit(tasks.wait_at, gate.address)
        gate.wait_for_one()
        directory = sessions_directory(os.environ) / opened.id
        assert has_broker(os.environ, opened.id)
        os.kill(opened.broker_pid, signal.SIGSTOP)
        try:
            assert is_silent(directory, within_s=0.5)
            assert has_broker(os.environ, opened.id)
        finally:
            os.kill(opened.broker_pid, signal.SIGCONT)
        gate.open()
        assert future.result(timeout=60)
    assert not is_silent(make_directory(os.environ, "none"))
    assert not has_broker(os.environ, "none")
