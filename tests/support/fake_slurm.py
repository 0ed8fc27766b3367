"""A Slurm in memory for tests of the bridge: jobs take as long as they are told on trio's clock, and what can go wrong
on the way to a real one goes wrong here as a seed says. It counts what it was made to run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import trio

from hal_core import members, parse_ranges
from hal_plugin_slurm.usage import Used
from hal_plugin_slurm.way import SlurmJob, SlurmNode, SlurmReservation, SlurmSilent, SlurmUnanswered, Submission, Target

Behaviour = Callable[[Submission, int], tuple[float, str, int]]
"""(seconds it runs, state in the end, exit code) by submission and index."""
MIN_JOB_AGE_S = 300.0
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


@attrs.define
class _Record:
    job: SlurmJob
    start_s: float
    end_s: float
    state: str
    code: int


@attrs.define
class FakeSlurm:
    """`trouble` is the chance of each request to go wrong, in one of the ways there are."""

    seed: int = 0
    trouble: float = 0.0
    has_accounting: bool = True
    wait_s: float = 3.0
    latency_s: float = 1.0
    """A request takes as long as this at most."""
    lost: list[Exception] = attrs.Factory(list)
    """What the next submissions raise after they were carried out."""
    refused: list[Exception] = attrs.Factory(list)
    """And before."""
    behaviour: Behaviour = lambda submission, index: (5.0, "COMPLETED", 0)
    run_count: Counter[str] = attrs.Factory(Counter)
    question_times_s: list[float] = attrs.Factory(list)
    _records: list[_Record] = attrs.Factory(list)
    _next_id: int = 1
    _random: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def submit(self, submission: Submission) -> int:
        await self._maybe_fail()
        if self.refused:
            raise self.refused.pop(0)
        job_id, begin_s = self._next_id, trio.current_time() + self.wait_s
        indices = list(members(parse_ranges(submission.indices))) if submission.indices else [None]
        for index in indices:
            runtime_s, state, code = self.behaviour(submission, index or 0)
            job = SlurmJob(job_id, submission.name, "PENDING", index, user=submission.user)
            self._records.append(_Record(job, begin_s, begin_s + runtime_s, state, code))
            self.run_count[f"{submission.name.rpartition('@')[2]}/{index}"] += 1
        self._next_id += len(indices)
        if self.lost:
            raise self.lost.pop(0)
        await self._maybe_lose()
        return job_id

    async def jobs(self) -> Sequence[SlurmJob]:
        self.question_times_s.append(trio.current_time())
        await self._maybe_fail()
        now_s = trio.current_time()
        found = [_seen(each, now_s) for each in self._records if now_s < each.end_s + MIN_JOB_AGE_S]
        await self._maybe_lose()
        return found

    async def history(self, names: Sequence[str], since_s: float) -> Sequence[SlurmJob] | None:
        await self._maybe_fail()
        if not self.has_accounting:
            return None
        now_s = trio.current_time()
        return [_accounted(each, now_s) for each in self._records if each.job.name in names]

    async def cancel(self, targets: Sequence[Target]) -> None:
        await self._maybe_fail()
        now_s = trio.current_time()
        for job_id, some in targets:
            for each in self._records:
                is_meant = some is None or each.job.index in members(some)
                if each.job.native_id == job_id and is_meant and now_s < each.end_s:
                    each.end_s, each.state, each.code = now_s, "CANCELLED", 0
                    each.start_s = min(each.start_s, now_s)
        await self._maybe_lose()

    async def nodes(self) -> Sequence[SlurmNode]:
        await self._maybe_fail()
        return [SlurmNode("n1", "idle", 8, 16000), SlurmNode("n2", "idle", 8, 16000)]

    async def reservations(self) -> Sequence[SlurmReservation]:
        await self._maybe_fail()
        return []

    @property
    def left(self) -> list[str]:
        """Names of jobs that have not ended."""
        now_s = trio.current_time()
        return [each.job.name for each in self._records if now_s < each.end_s]

    async def _maybe_fail(self) -> None:
        """Nothing was asked: out of reach; or it takes a while."""
        await trio.sleep(self._random.random() * self.latency_s)
        if self._random.random() < self.trouble / 2:
            raise SlurmSilent("connect failure")

    async def _maybe_lose(self) -> None:
        """It was done, and nobody is told."""
        if self._random.random() < self.trouble / 2:
            await trio.sleep(self._random.random() * 20)
            raise SlurmUnanswered("timed out")


def _accounted(each: _Record, now_s: float) -> SlurmJob:
    """One CPU for all of its time, and a MiB of memory."""
    is_over = now_s >= each.end_s
    return attrs.evolve(_seen(each, now_s), used=Used(each.end_s - each.start_s, 1 << 20) if is_over else None)


def _seen(each: _Record, now_s: float) -> SlurmJob:
    if now_s < each.start_s:
        return each.job
    running = attrs.evolve(each.job, state="RUNNING", start_time_s=each.start_s, nodes="n1")
    if now_s < each.end_s:
        return running
    return attrs.evolve(running, state=each.state, exit_code=each.code, end_time_s=each.end_s)
