"""The quick replay with a pool of a simulated cloud beside the site's own nodes: what would bursting have cost?

The engine plans the site's own nodes as ever and knows of no money. The pool's rule is asked about what waits; a job
that it admits stays in the queue until the instances for it are there, and starts on whichever is free first. A job
runs on the site's nodes or on the pool's, never on both. Nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush

import attrs

from hal_core.models.cloud_pool import PoolOffer
from hal_core.models.job import JobId
from hal_core.models.plan import PendingJob, Start
from hal_core.models.pool_decision import Admit, Decline, InstanceState, Relinquish, Want
from hal_core.models.pool_event import InstancesRefused
from hal_core.planes import Engine
from hal_core.rules.pool_choice import LEASE_SPARE_S
from hal_core.rules.pool_starts import expected_starts
from hal_core.rules.pool_supply import Place, Supply
from hal_core.rules.pool_worth import Worth
from hal_core.rules.pools import PoolView, decide_pool
from hal_core.sim.cloud_site import CloudSite, PoolRule
from hal_core.sim.machine import Machine
from hal_core.sim.replay import Foresight, Replay
from hal_core.sim.trace import TraceJob

OWN_RULE: PoolRule = decide_pool
GIVE_UP_S = 3 * 86_400.0
"""Who waits for so long while nothing else happens will never be served: no offer that would do has capacity."""


@attrs.frozen
class Burst:
    """The pool of a replay, who decides about it, and what is asked of the jobs."""

    site: CloudSite
    rule: PoolRule
    cpus_of: Mapping[str, int]
    """By offer: of one instance."""
    deadline_of: Callable[[TraceJob], float]
    checkpoint_s: float = math.inf
    does_fill: bool = True
    """Who was left to wait, or waits for instances, only fills what the others leave; see BurstReplay."""
    fill_s: float = 3 * 86_400.0
    """For so long; then it stands among them."""
    payer_of: Callable[[TraceJob], str] = lambda job: ""
    """Whose budget pays for a job, beside the pool's; empty: none."""


@attrs.define
class _Served:
    """A job that runs in the pool."""

    at: int
    start_s: float
    need: float
    names: list[str]
    offer: PoolOffer
    pending: PendingJob
    is_over: bool = False


class BurstReplay(Replay):
    """A replay whose jobs may also run on instances of a pool."""

    def __init__(
        self, engine: Engine, machine: Machine, jobs: Sequence[TraceJob], foresight: Foresight, burst: Burst
    ) -> None:
        super().__init__(engine, machine, list(jobs), foresight)
        self._burst = burst
        self._site = burst.site
        self._offers = {offer.name: offer for offer in burst.site.pool.offers}
        self._left_s = [job.run_s for job in jobs]
        """Of the work of each job: less after a checkpoint and an interruption."""
        self.end_s = [math.nan] * len(jobs)
        self._wide: dict[JobId, PendingJob] = {}
        """Jobs that fit on no nodes of the site."""
        self._admitted: dict[JobId, str] = {}
        self._known_late: set[JobId] = set()
        self._worth = Worth()
        self._free: dict[str, float] = {}
        self._users: dict[str, list[_Served]] = {}
        self._served_ends: list[tuple[float, int, _Served]] = []
        self._decide_s = math.inf
        self._progress_s = 0.0
        self._is_news = False
        """Something happened that the pool has to decide about."""
        self.served_count = 0
        self.interruption_count = 0
        self.used_s = 0.0
        """Of instances, by jobs."""

    # -- time ----------------------------------------------------------------------------------------------------------

    def _next_time_s(self) -> float:
        time_s = min(super()._next_time_s(), self._decide_s, self._site.observe_s)
        if self._served_ends:
            time_s = min(time_s, self._served_ends[0][0])
        is_idle = not (self._served_ends or self._site.ledger.instances)
        if is_idle and time_s > self._progress_s + GIVE_UP_S and super()._next_time_s() == math.inf:
            return math.inf
        return max(time_s, self._view.now_s)

    def _together(self, now_s: float) -> None:
        self._look_at_cloud(now_s)
        self._end_served(now_s)
        self._is_news |= self._decide_s <= now_s
        super()._together(now_s)
        has_left = self._start_served(now_s)
        if self._is_news:
            self._decide(now_s)
            has_left |= self._start_served(now_s)
        if has_left:
            self._view.has_released = self._is_otherwise = True
            self._plan(now_s)

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        super()._submit()
        at = self._next - 1
        job_id, job = JobId(at), self._jobs[at]
        if job_id not in self._pending:
            said = self._expectations.expect(job_id, job)
            shape = self._machine.shape_of(job)
            times_s = (job.limit_s, 0, job.submit_s, said.expected_s)
            self._wide[job_id] = PendingJob(job_id, 1, shape, *times_s, mean_s=said.average_s)
        self._is_news = True
        self._progress_s = self._view.now_s

    def _start(self, start: Start, now_s: float) -> None:
        super()._start(start, now_s)
        at = int(start.job_id)
        self.end_s[at] = now_s + self._jobs[at].run_s
        self._has_started(start.job_id, now_s)

    def _plan(self, now_s: float) -> None:
        """Jobs that were left to wait, and those that wait for instances, fill what the others leave.

        They stand behind the others and nothing is kept free for them: the engine sees them only when there is room.
        Keeping nodes idle for a wide job that is late in any case would cost what it was left to wait to save.
        """
        aside: dict[JobId, PendingJob] = {}
        fillers = (*self._known_late, *self._admitted) if self._burst.does_fill else ()
        for job_id in fillers:
            row = self._pending.get(job_id)
            if row is None:
                continue
            if now_s - row.submit_time_s > self._burst.fill_s:
                if row.rank < 0:
                    self._pending[job_id] = attrs.evolve(row, rank=0)
            elif not self._room.fitting(self._machine.packing.ask(row.shape)):
                aside[job_id] = self._pending.pop(job_id)
            elif row.rank == 0:
                self._pending[job_id] = attrs.evolve(row, rank=-1)
        if fillers:
            self._is_otherwise = self._view.has_released = True
        super()._plan(now_s)
        self._pending.update(aside)

    def _has_started(self, job_id: JobId, now_s: float) -> None:
        self._progress_s = now_s
        pool = self._site.pool
        was_admitted = self._admitted.pop(job_id, None) is not None
        self._is_news |= was_admitted
        if job_id in self._known_late:
            self._known_late.discard(job_id)
        elif not was_admitted and now_s <= self._jobs[int(job_id)].submit_s + pool.within_s:
            self._worth = self._worth.on_time(pool.goal.share)

    def _end_served(self, now_s: float) -> None:
        heap = self._served_ends
        while heap and heap[0][0] <= now_s:
            served = heappop(heap)[2]
            if served.is_over:
                continue
            self._leave(served, now_s)
            job = self._jobs[served.at]
            for job_id in self._expectations.learn(JobId(served.at), job, now_s):
                waiting = self._pending.get(job_id)
                if waiting is not None:
                    said = self._expectations.expect(job_id, self._jobs[int(job_id)])
                    expected_s, mean_s = said.expected_s, said.average_s
                    self._pending[job_id] = attrs.evolve(waiting, expected_s=expected_s, mean_s=mean_s)
                    self._is_otherwise = True

    def _leave(self, served: _Served, now_s: float) -> None:
        served.is_over = True
        self._progress_s = now_s
        self.used_s += (now_s - served.start_s) * served.need
        for name in served.names:
            if name not in self._users:
                continue
            self._users[name].remove(served)
            self._set_free(name, self._free.get(name, 0.0) + min(served.need, 1.0), now_s)

    def _set_free(self, name: str, share: float, now_s: float) -> None:
        self._free[name] = share
        is_idle = share > 1.0 - 1e-9
        if name in self._site.ledger.instances:
            self._site.ledger.note_idle(name, now_s if is_idle else None)
        self._is_news |= is_idle

    # -- the pool ------------------------------------------------------------------------------------------------------

    def _look_at_cloud(self, now_s: float) -> None:
        if now_s < self._site.observe_s:
            return
        before = len(self._site.events)
        for name in self._site.observe(now_s):
            self._free.pop(name, None)
            for served in list(self._users.pop(name, ())):
                self._interrupt(served, name, now_s)
        for each in self._site.ledger.instances.values():
            if each.state is InstanceState.READY and each.name not in self._free:
                self._users[each.name] = []
                self._set_free(each.name, 1.0, now_s)
        self._is_news |= len(self._site.events) > before

    def _interrupt(self, served: _Served, lost: str, now_s: float) -> None:
        """It waits again; of its work is done what it had saved."""
        self.interruption_count += 1
        served.names.remove(lost)
        self._leave(served, now_s)
        done_s = (now_s - served.start_s) * served.offer.speed
        checkpoint_s = self._burst.checkpoint_s
        saved_s = done_s // checkpoint_s * checkpoint_s if checkpoint_s < math.inf else 0.0
        self._left_s[served.at] -= saved_s
        job = self._jobs[served.at]
        self._jobs[served.at] = attrs.evolve(job, run_s=self._left_s[served.at])  # type: ignore[index]
        row, job_id = served.pending, served.pending.job_id
        left = [max(1.0, value_s - saved_s) for value_s in (row.walltime_s, row.expected_s, row.mean_s)]
        row = attrs.evolve(row, walltime_s=left[0], expected_s=left[1], mean_s=left[2])
        target = self._pending if self._can_start.get(served.pending.shape) else self._wide
        target[job_id] = row
        self._is_otherwise = self._is_news = True

    def _start_served(self, now_s: float) -> bool:
        """Start admitted jobs, in the order of their admission, where there is room now."""
        has_left = False
        supply: Supply | None = None
        for job_id, name in list(self._admitted.items()):
            if supply is None:
                ready = [each for each in self._site.ledger.instances.values() if each.state is InstanceState.READY]
                supply = Supply(ready, self._free, now_s)
            pending = self._pending.get(job_id) or self._wide.get(job_id)
            assert pending is not None, f"job {job_id} is admitted and does not wait"
            offer = self._offers[name]
            need = self._need(int(job_id), offer)
            places = supply.find(name, need, account=self._burst.payer_of(self._jobs[int(job_id)]))
            until_s = now_s + pending.walltime_s / offer.speed + LEASE_SPARE_S / 2
            if len(places) < max(1, math.ceil(need - 1e-9)) or any(each.until_s < until_s for each in places):
                continue
            supply.take(places, need)
            self._serve(pending, offer, need, places, now_s)
            has_left = True
        return has_left

    def _serve(self, pending: PendingJob, offer: PoolOffer, need: float, places: list[Place], now_s: float) -> None:
        at = int(pending.job_id)
        served = _Served(at, now_s, need, [place.name for place in places], offer, pending)
        for place in places:
            self._users[place.name].append(served)
            self._set_free(place.name, self._free[place.name] - min(need, 1.0), now_s)
        self._pending.pop(pending.job_id, None)
        self._wide.pop(pending.job_id, None)
        self.start_s[at] = now_s
        end_s = self.end_s[at] = now_s + self._left_s[at] / offer.speed
        self.served_count += 1
        heappush(self._served_ends, (end_s, self.served_count, served))
        if self._starts is not None:
            self._starts.started(pending.job_id, now_s)
        self._has_started(pending.job_id, now_s)

    def _decide(self, now_s: float) -> None:
        self._is_news = False
        pool, ledger = self._site.pool, self._site.ledger
        view = PoolView(
            now_s,
            tuple(ledger.instances.values()),
            {name: share for name, share in self._free.items() if name not in ledger.drained},
            self._wants(now_s),
            dict(self._admitted),
            ledger.spent(now_s) if pool.budget is not None else 0.0,
            dict(ledger.closed_until_s),
            self._worth,
            ledger.serial,
            ledger.spent_by(now_s) if pool.account_budgets else {},
        )
        decision = self._burst.rule(ledger.as_seen(pool, now_s), view)
        self._worth = decision.worth
        self._decide_s = max(decision.wake_s, now_s + 1.0)
        for action in decision.actions:
            if isinstance(action, Admit):
                self._admitted[action.job_id] = action.offer
            elif isinstance(action, Decline):
                self._admitted.pop(action.job_id, None)
                if action.is_late:
                    self._known_late.add(action.job_id)
        before = len(self._site.events)
        self._site.carry_out(decision.actions, now_s)
        if any(isinstance(event, InstancesRefused) for event in self._site.events[before:]):
            self._decide_s = now_s + 1.0
        for action in decision.actions:
            if isinstance(action, Relinquish):
                self._free.pop(action.instance, None)
                self._users.pop(action.instance, None)

    def _wants(self, now_s: float) -> list[Want]:
        waiting = [*self._pending.values(), *self._wide.values()]
        if not waiting:
            return []
        starts_s = expected_starts(self._view, self._pending.values())
        return [self._want(job, starts_s.get(job.job_id, math.inf)) for job in waiting]

    def _want(self, pending: PendingJob, expected_start_s: float) -> Want:
        at = int(pending.job_id)
        job = self._jobs[at]
        return Want(
            pending.job_id,
            {name: self._need(at, offer) for name, offer in self._offers.items()},
            expected_start_s,
            pending.expected_s,
            pending.walltime_s,
            job.submit_s,
            self._burst.deadline_of(job),
            self._burst.checkpoint_s,
            pending.job_id in self._known_late,
            account=self._burst.payer_of(job),
        )

    def _need(self, at: int, offer: PoolOffer) -> float:
        share = self._jobs[at].processors / self._burst.cpus_of[offer.name]
        return share if share < 1.0 else float(math.ceil(share))

    @property
    def now_s(self) -> float:
        return self._view.now_s
