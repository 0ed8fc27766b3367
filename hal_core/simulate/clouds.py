"""`--with-cloud`: a replay with a pool of a simulated cloud, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import attrs

from hal_core.config.cloud_file import CloudFile, OfferSection, parse_cloud_file
from hal_core.config.document import decode
from hal_core.config.kinds import Notes
from hal_core.config.pools import check_budgets
from hal_core.errors import InvalidInput, Problem
from hal_core.models.cloud_pool import Market
from hal_core.planes import Engine
from hal_core.sim.burst import OWN_RULE, Burst, BurstReplay
from hal_core.sim.cloud import SimulatedCloud, SimulatedOffer
from hal_core.sim.cloud_site import CloudSite, PoolRule
from hal_core.sim.figures import percentile
from hal_core.sim.machine import Machine
from hal_core.sim.queue_length import queue_length
from hal_core.sim.replay import Foresight
from hal_core.sim.trace import Trace, TraceJob

ACCOUNT_IN = "sacct has it in the column Account, SWF in field 13 (group7)"
QUEUE_LENGTH = "queue-length"
ON_DEMAND = "on-demand"
POOL_POLICIES = (QUEUE_LENGTH, ON_DEMAND)
"""Names of policies that are rules of the pool; the engine beside them is `hal`."""
ENGINE = "hal"


@attrs.frozen
class CloudPolicy:
    """By which file, and who decides about its pool."""

    file: CloudFile
    name: str


@attrs.frozen
class CloudFigures:
    """Of one run. Money in the currency of the file."""

    spend: float
    p90_wait_s: float
    deadlines_missed: int
    leaked: int
    """Instances that are there at the end, or that the pool knew nothing of."""
    instances: int
    """So many were there in all."""
    interruptions: int
    spend_by_account: Mapping[str, float]
    """Of the accounts that have budgets of their own."""


def read_cloud_file(name: str) -> CloudFile:
    """Raises errors.UserError and OSError."""
    return parse_cloud_file(decode(Path(name).read_bytes(), name), name)


def check_accounts(file: CloudFile, trace: Trace, machine: Machine) -> None:
    """Raises InvalidInput for a budget of an account that neither the trace nor the cluster names."""
    if not file.pool.account_budgets:
        return
    known = {job.account for job in trace.jobs if job.account}
    if not known:
        text = f"no job of the trace is of an account; {ACCOUNT_IN}"
        raise InvalidInput([Problem("pool.account_budgets", text)])
    notes = Notes()
    check_budgets(file.pool, "pool.account_budgets", _above(machine), known, notes)
    if notes.problems:
        raise InvalidInput(notes.problems)


def _above(machine: Machine) -> dict[str, str]:
    """Of each account of the cluster the one above it, or nothing."""
    return {account.name: account.parent for account in machine.cluster.accounts}


def engine_name(policy: str) -> str:
    return ENGINE if policy in POOL_POLICIES else policy


def on_premises(file: CloudFile, machine: Machine) -> Machine:
    """The site's own nodes: some of those of the trace."""
    if file.on_premises == 1.0 or not machine.is_pool:
        return machine
    return Machine.pool(max(1, round(machine.processors * file.on_premises)))


class CloudRun:
    """One run with a cloud of its own."""

    def __init__(
        self, who: CloudPolicy, engine: Engine, machine: Machine, jobs: Sequence[TraceJob], said: Foresight
    ) -> None:
        file, policy = who.file, who.name
        pool = file.cloud_pool(_above(machine))
        if policy == ON_DEMAND:
            lasting = tuple(each for each in pool.offers if each.market is Market.ON_DEMAND)
            pool = attrs.evolve(pool, offers=lasting)
        random = Random(f"{file.seed}/cloud")  # noqa: S311  repeatable, nothing secret
        self.cloud = SimulatedCloud(tuple(_simulated(each) for each in file.offers), random, file.api_faults)
        rule: PoolRule = OWN_RULE
        if policy == QUEUE_LENGTH:
            rule, pool = queue_length, attrs.evolve(pool, budget=None, account_budgets=())
        self._site = CloudSite(pool, self.cloud)
        self._deadlines = _deadlines(file, jobs)
        cpus_of = {each.name: each.cpus for each in file.offers}
        deadline_of = {job.number: time_s for job, time_s in zip(jobs, self._deadlines, strict=True)}
        burst = Burst(
            self._site,
            rule,
            cpus_of,
            lambda job: deadline_of[job.number],
            file.checkpoint,
            policy != QUEUE_LENGTH,
            payer_of=lambda job: pool.payer_of(job.account),
        )
        self._jobs = jobs
        self.replay = BurstReplay(engine, machine, jobs, said, burst)

    def figures(self) -> CloudFigures:
        """When all has happened."""
        replay = self.replay
        waits = sorted(s - job.submit_s for job, s in zip(self._jobs, replay.start_s, strict=True) if s == s)
        missed = sum(
            deadline_s < math.inf and not end_s <= deadline_s
            for deadline_s, end_s in zip(self._deadlines, replay.end_s, strict=True)
        )
        return CloudFigures(
            spend=self.cloud.bill(replay.now_s),
            p90_wait_s=percentile(waits, 0.9) if waits else 0.0,
            deadlines_missed=missed,
            leaked=len(self.cloud.alive) + self._site.unknown_count,
            instances=self.cloud.begun_count,
            interruptions=replay.interruption_count,
            spend_by_account=self._site.spent_by_account(replay.now_s),
        )


def _simulated(offer: OfferSection) -> SimulatedOffer:
    return SimulatedOffer(
        offer.name,
        offer.price_per_hour,
        offer.boot,
        offer.boot_spread,
        offer.count_max,
        offer.capacity_errors,
        offer.never_joins,
        offer.interruptions_per_hour if offer.market is Market.SPOT else 0.0,
    )


def _deadlines(file: CloudFile, jobs: Sequence[TraceJob]) -> list[float]:
    """Of each job; infinity for those without."""
    random = Random(f"{file.seed}/deadlines")  # noqa: S311  repeatable, nothing secret
    given = file.deadlines
    return [
        job.submit_s + job.limit_s * (1.0 + given.slack) + given.spare if random.random() < given.share else math.inf
        for job in jobs
    ]
