"""A session whose daemon is away waits for it: to have workers, and, if it has some, with them at work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio
from trio.testing import MockClock

from hal_core.client.session_start import PATIENCE_S, patience_s
from hal_core.errors import InvalidInput, NotFound, Unavailable
from hal_core.sessions.node_workers import NodeWorkers
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.worker_jobs import wait_for_end


class Daemon:
    """It does not answer for so many questions, then it tells how the job ended, or raises."""

    def __init__(self, away_count, answer):
        self.left, self.answer = away_count, answer

    async def wait(self, job_id):
        await trio.lowlevel.checkpoint()
        if self.left:
            self.left -= 1
            raise Unavailable("cannot reach the daemon")
        if isinstance(self.answer, Exception):
            raise self.answer
        return job_id, self.answer


def test_a_daemon_that_is_away_is_asked_until_it_is_back():
    daemon = Daemon(5000, "ended")
    assert trio.run(wait_for_end, daemon, 7, clock=MockClock(autojump_threshold=0)) == (7, "ended")
    assert daemon.left == 0


def test_one_that_is_back_and_does_not_know_the_job_ends_the_wait():
    with pytest.raises(NotFound):
        trio.run(wait_for_end, Daemon(3, NotFound("no job 7")), 7, clock=MockClock(autojump_threshold=0))


class Taker:
    """A daemon that is away until that time, and takes as long to say so as a client waits for an answer; then it takes
    the jobs that it is given."""

    def __init__(self, back_s):
        self.back_s, self.taken = back_s, []

    async def submit(self, request):
        await trio.lowlevel.checkpoint()
        if trio.current_time() < self.back_s:
            await trio.sleep(9.0)
            raise Unavailable("cannot reach the daemon")
        self.taken.append(request.client_id)
        return len(self.taken)

    async def job(self, job_id):
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(has_ended=False)


@pytest.fixture
def new_workers(tmp_path):
    """Of a session: one worker in any case, one in what others leave. Call it again for a broker that comes back."""
    made = []
    tmp_path.chmod(0o700)

    def make():
        if made:
            made[-1].listener.close()
        options = BrokerOptions("s1", 0, 1, 1, directory=str(tmp_path), patience_s=PATIENCE_S)
        made.append(NodeWorkers(options))
        return made[-1]

    yield make
    made[-1].listener.close()


def submit_in_virtual_time(workers, back_s):
    """Returns what was taken, after how long, and what was told meanwhile."""
    told = []
    workers.on_trouble = lambda: told.append(workers.trouble)

    async def run():
        begin_s = trio.current_time()
        taker = Taker(begin_s + back_s)
        try:
            await workers._submit(taker)
        finally:
            told.append(trio.current_time() - begin_s)
        return taker.taken

    try:
        return trio.run(run, clock=MockClock(autojump_threshold=0)), told.pop(), told
    except Unavailable:
        return [], told.pop(), told


def test_a_session_that_is_opened_while_its_daemon_is_away_has_its_workers_when_it_is_back(new_workers):
    taken, after_s, told = submit_in_virtual_time(new_workers(), 600)
    assert taken == ["session-s1", "session-s1-elastic"]
    assert 600 <= after_s < 620
    assert told == ["waits for its daemon, at most 900 s: cannot reach the daemon", ""]


def test_it_gives_up_at_the_deadline_that_it_has_told(new_workers):
    taken, after_s, told = submit_in_virtual_time(new_workers(), 1e9)
    assert taken == []
    assert PATIENCE_S - 20 < after_s <= PATIENCE_S + 9
    assert len(told) == 1


def test_one_whose_broker_came_back_waits_as_long_as_it_takes_for_its_workers_may_be_at_work(new_workers):
    new_workers()
    taken, after_s, told = submit_in_virtual_time(new_workers(), 2000)
    assert taken == ["session-s1", "session-s1-elastic"]
    assert after_s >= 2000 > PATIENCE_S
    assert told == ["waits for its daemon: cannot reach the daemon", ""]


def test_how_long_it_waits_can_be_said():
    assert patience_s({}) == PATIENCE_S
    assert patience_s({"HAL_SESSION_PATIENCE_S": "0"}) == 0
    for wrong in ("soon", "-1", "nan", "inf"):
        with pytest.raises(InvalidInput, match=rf"HAL_SESSION_PATIENCE_S: '{wrong}' is not a number of seconds"):
            patience_s({"HAL_SESSION_PATIENCE_S": wrong})
