"""A session whose daemon dies goes on with the workers that it has."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from hal_core.errors import NotFound, Unavailable
from hal_core.sessions.node_workers import wait_for_end


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
