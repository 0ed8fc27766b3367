"""What becomes of a session's jobs when it is set otherwise, and a job has ended or the daemon goes away meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from hal_core.errors import NotFound, Refused, Unavailable
from hal_core.models.ranges import parse_ranges
from hal_core.sessions.node_workers import NodeWorkers
from hal_core.sessions.options import BrokerOptions
from hal_core.wire.sessions import Adjust


class Daemon:
    """It takes jobs; `left` are the elements of each that have not ended, `away_after` the calls until it is away."""

    def __init__(self):
        self.ids, self.left, self.away_after = {}, {}, None
        self.priorities, self.weights = {}, {}

    def _answer(self, job_id=None):
        if self.away_after is not None:
            if not self.away_after:
                raise Unavailable("cannot reach the daemon")
            self.away_after -= 1
        if job_id is not None and job_id not in self.left:
            raise NotFound(f"no job {job_id}")

    async def submit(self, request):
        self._answer()
        if request.client_id not in self.ids:
            job_id = self.ids[request.client_id] = len(self.ids) + 1
            self.left[job_id] = set(range(int(request.options["array"].partition("-")[2]) + 1))
        return self.ids[request.client_id]

    async def job(self, job_id):
        self._answer(job_id)
        return SimpleNamespace(has_ended=not self.left[job_id])

    async def cancel(self, job_id, indices=None):
        self._answer(job_id)
        if indices is None:
            self.left[job_id] = set()
        else:
            self.left[job_id] -= {index for start, stop in parse_ranges(indices) for index in range(start, stop)}
        return 1

    async def set_priority(self, job_id, priority):
        self._set(self.priorities, job_id, priority)

    async def set_weight(self, job_id, weight):
        self._set(self.weights, job_id, weight)

    def _set(self, values, job_id, value):
        self._answer(job_id)
        if not self.left[job_id]:
            raise Refused(f"job {job_id} has ended")
        values[job_id] = value

    @property
    def counts(self):
        """Of workers that there are, by job."""
        return {name: len(self.left[job_id]) for name, job_id in self.ids.items() if self.left.get(job_id)}


class Session:
    """One of `own` workers and `elastic` more."""

    def __init__(self, directory):
        directory.chmod(0o700)
        self.directory, self.workers, self.daemon = directory, None, Daemon()

    async def open(self, own=2, elastic=3):
        """Also by a broker that comes back."""
        self.close()
        self.workers = NodeWorkers(BrokerOptions("s1", 0, own, elastic, directory=str(self.directory)))
        await self.workers._submit(self.daemon)

    async def adjust(self, **wanted):
        return await self.workers._adjust(self.daemon, Adjust(**wanted), set())

    def close(self):
        if self.workers is not None:
            self.workers.listener.close()


@pytest.fixture
def session(tmp_path):
    opened = Session(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_one_whose_elastic_job_was_cancelled_is_set_all_the_same(session, is_forgotten):
    await session.open()
    await session.daemon.cancel(2)
    if is_forgotten:
        del session.daemon.left[2]
    assert await session.adjust(priority=-7) == "priority -7"
    assert session.daemon.priorities == {1: -7}
    with pytest.raises(Refused, match="no elastic workers"):
        await session.adjust(weight=3)
    await session.adjust(worker_count_max=4)
    assert session.daemon.counts == {"session-s1": 2, "session-s1-more-1-elastic": 2}
    assert await session.adjust(weight=3) == "weight 3"


async def test_what_was_set_in_part_is_said(session):
    await session.open()
    session.daemon.away_after = 2
    with pytest.raises(Refused, match=r"cannot reach the daemon \(done before: priority -7 of job 1 alone\)"):
        await session.adjust(priority=-7)


async def test_one_that_shrinks_while_the_daemon_goes_away_does_the_rest_when_it_is_back(session):
    await session.open()
    session.daemon.away_after = 1  # It says that the elastic job runs.
    assert (
        await session.adjust(worker_count_min=1, worker_count_max=1) == "1 to 1 workers as soon as the daemon is back"
    )
    assert session.daemon.counts == {"session-s1": 2, "session-s1-elastic": 3}
    session.daemon.away_after = None
    assert await session.adjust(priority=-7) == "priority -7"
    assert session.daemon.counts == {"session-s1": 1}
    assert session.daemon.priorities == {1: -7}, "the other is let go before, not set"


async def test_it_need_not_be_asked_again(session):
    await session.open()
    session.daemon.away_after = 1
    await session.adjust(worker_count_min=1, worker_count_max=1)
    with pytest.raises(Unavailable):
        await session.workers._let_go(session.daemon)
    assert session.workers.owes_cancels
    session.daemon.away_after = None
    await session.workers._let_go(session.daemon)
    assert not session.workers.owes_cancels
    assert session.daemon.counts == {"session-s1": 1}


@pytest.mark.parametrize("taken", [0, 1])
async def test_jobs_of_one_that_could_not_grow_are_let_go_when_the_daemon_is_back(session, taken):
    await session.open(own=2, elastic=0)
    session.daemon.away_after = taken
    with pytest.raises(Unavailable, match="cannot reach the daemon"):
        await session.adjust(worker_count_min=3, worker_count_max=5)
    assert len(session.daemon.counts) == 1 + taken
    session.daemon.away_after = None
    assert await session.adjust(priority=-7) == "priority -7"
    assert session.daemon.counts == {"session-s1": 2}
    await session.adjust(worker_count_min=3, worker_count_max=3)
    assert sum(session.daemon.counts.values()) == 3


async def test_a_broker_that_comes_back_leaves_nothing_of_its_predecessor_when_the_main_job_has_ended(session):
    await session.open()
    await session.daemon.cancel(1)
    await session.open()
    assert session.daemon.counts == {"session-s1-1": 2, "session-s1-1-elastic": 3}


async def test_it_is_ended_also_if_the_daemon_goes_away_meanwhile(session, autojump_clock):
    await session.open()
    await session.daemon.cancel(1)
    session.daemon.away_after = 3  # Both jobs are known, and the first has ended.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.open)
        await trio.sleep(60)
        session.daemon.away_after = None
    assert session.daemon.counts == {"session-s1-1": 2, "session-s1-1-elastic": 3}
