"""What limits let start in a forecast: counted from how they stand now, as the foreseen jobs start and end. Pure.

Minutes that were used are taken to stay used: no forecast rests on their being forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from hal_core.rules.limits import NOTHING, Amounts, amount_of
from hal_core.rules.usage import Used

if TYPE_CHECKING:
    from hal_core.models.job import JobId
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.limits import Tally
    from hal_core.rules.state import State

MANY = 1 << 40
NOTHING_USED = Used()
FOR_A_WHILE = frozenset({"running_jobs", "cpus", "gpus"})
"""What an element gives back when it ends."""


class Claim(NamedTuple):
    """What one element of a job counts, and in which tallies."""

    tallies: tuple[Tally, ...]
    amounts: Amounts


NO_CLAIM = Claim((), NOTHING)


def claim_of(state: State, record: JobRecord) -> Claim:
    book = state.limits
    return Claim(book.of(record.payer), book.amounts(record.spec, record.shape)) if book.is_active else NO_CLAIM


class Standings(dict["tuple[Tally, str]", float]):
    """How much of each limit is in force."""

    @classmethod
    def of(cls, state: State, now_s: float) -> Standings:
        used = state.limits.used(state.ledger, now_s)
        found = cls()
        for tally in state.limits.tallies() if state.limits.is_active else ():
            for what in tally.limits:
                found[tally, what] = tally.current(what, used.get(tally, NOTHING_USED), now_s)
        return found

    def start(self, claim: Claim, count: int) -> None:
        for tally in claim.tallies:
            for what in tally.limits:
                if what != "pending_jobs":
                    self[tally, what] = self.get((tally, what), 0.0) + count * amount_of(what, claim.amounts)

    def end(self, claim: Claim) -> None:
        for tally in claim.tallies:
            for what in FOR_A_WHILE.intersection(tally.limits):
                self[tally, what] -= amount_of(what, claim.amounts)


class ForeseenQuota:
    """Implements models.quota.Quota."""

    def __init__(self, claims: Mapping[JobId, Claim], standings: Standings) -> None:
        self._claims = claims
        self._standings = standings
        self._now = Standings(standings)

    def left(self, job_id: JobId) -> int:
        tallies, amounts = self._claims.get(job_id, NO_CLAIM)
        left = MANY
        for tally in tallies:
            for what, most in tally.limits.items():
                amount = 0.0 if what == "pending_jobs" else amount_of(what, amounts)
                if amount:
                    current = self._now.get((tally, what), 0.0)
                    left = min(left, max(int((most - current) // amount), 1) if current + amount <= most else 0)
        return left

    def take(self, job_id: JobId, count: int) -> None:
        self._now.start(self._claims.get(job_id, NO_CLAIM), count)

    def fresh(self) -> ForeseenQuota:
        return ForeseenQuota(self._claims, self._standings)

    def without(self, ended: Mapping[JobId, int]) -> ForeseenQuota:
        another = self.fresh()
        for job_id, count in ended.items():
            another.take(job_id, -count)
        return another
