"""Sums of receipts by user, account, month and day: a fold of the whole log. Pure.

A job counts on the day on which its last element ended, with all that it ever waited, ran and cost. Sums are of whole
ticks, millionths (`receipt.py`) and millijoules, so whatever is added up first, the sum is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import attrs

from hal_core.models.event import ClusterDefined, Event, JobEnded, JobSubmitted
from hal_core.models.job import JobId
from hal_core.models.receipt import ReceiptSum
from hal_core.rules.receipt import MILLIONTHS, Prices, ReceiptFold, prices_of
from hal_core.rules.wait_clock import seconds_of

COUNTED: Final = (
    *("job_count", "wait", "ran", "lost", "core", "gpu_milli", "money"),
    *("bytes_moved", "bytes_saved", "energy_milli", "cpu_energy_milli"),
)
Row = tuple[str, str, str, tuple[int, ...]]
"""User, account, day, and the amounts that are COUNTED."""
Key = tuple[str, str, str]
Sums = dict[Key, list[int]]
ShownKey = tuple[str, str, str, str]
"""User, account, month, day."""

_Key = TypeVar("_Key", Key, ShownKey)


@attrs.frozen
class SumFilters:
    """Which jobs to add up, and by what: of `by`, some of user, account, month and day. None: all."""

    by: tuple[str, ...] = ("user",)
    user: str | None = None
    account: str | None = None
    month: str | None = None


class ReceiptSums:
    """Takes every event of a journal, from the first; `rows` has what has ended.

    What has ended is added up and forgotten, but for jobs that are queued again, which the caller must know beforehand.
    """

    def __init__(self, requeued: Collection[JobId]) -> None:
        self._requeued = requeued
        self._folds: dict[JobId, ReceiptFold] = {}
        self._prices: Prices = {}
        self._sums: Sums = {}

    def apply(self, event: Event) -> None:
        kind = type(event)
        if kind is JobSubmitted:
            assert isinstance(event, JobSubmitted)
            self._folds[event.job_id] = ReceiptFold(event, self._prices)
            return
        if kind is ClusterDefined:
            assert isinstance(event, ClusterDefined)
            self._prices = prices_of(event)
            for fold in self._folds.values():
                fold.prices = self._prices
            return
        job_id = event.key.job_id if hasattr(event, "key") else getattr(event, "job_id", None)
        found = None if job_id is None else self._folds.get(job_id)
        if found is not None:
            found.apply(event)
            if kind is JobEnded and found.is_finished and found.submitted.job_id not in self._requeued:
                _add_fold(self._sums, self._folds.pop(found.submitted.job_id))

    def rows(self) -> list[Row]:
        sums = {key: list(amounts) for key, amounts in self._sums.items()}
        for fold in self._folds.values():
            if fold.is_finished:
                _add_fold(sums, fold)
        return [(*key, tuple(amounts)) for key, amounts in sums.items()]


def summed(rows: Iterable[Row], filters: SumFilters) -> tuple[ReceiptSum, ...]:
    """The rows that are asked for, added up and in order."""
    sums: dict[ShownKey, list[int]] = {}
    for user, account, day, amounts in rows:
        month = day[:7]
        wanted = (filters.user, filters.account, filters.month)
        if all(want is None or want == have for want, have in zip(wanted, (user, account, month), strict=True)):
            parts = {"user": user, "account": account, "month": month, "day": day}
            shown = [have if name in filters.by else "" for name, have in parts.items()]
            _add_to(sums, (shown[0], shown[1], shown[2], shown[3]), amounts)
    return tuple(_sum(key, dict(zip(COUNTED, sums[key], strict=True))) for key in sorted(sums))


def _add_fold(sums: Sums, fold: ReceiptFold) -> None:
    totals, submitted = fold.totals, fold.submitted
    day = datetime.fromtimestamp(fold.end_time_s, UTC).strftime("%Y-%m-%d")
    amounts = (
        *(1, sum(totals.waits.values()), totals.ran, totals.lost, totals.core, totals.gpu_milli, totals.money),
        *(totals.bytes_moved, totals.bytes_saved),
        *(round(1000 * (energy_j or 0.0)) for energy_j in (fold.measured.energy_j, fold.measured.cpu_energy_j)),
    )
    _add_to(sums, (submitted.owner.user, submitted.spec.account, day), amounts)


def _add_to(sums: dict[_Key, list[int]], key: _Key, amounts: Sequence[int]) -> None:
    have = sums.setdefault(key, [0] * len(COUNTED))
    for at, amount in enumerate(amounts):
        have[at] += amount


def _sum(key: ShownKey, amounts: dict[str, int]) -> ReceiptSum:
    user, account, month, day = key
    return ReceiptSum(
        user=user,
        account=account,
        month=month,
        day=day,
        job_count=amounts["job_count"],
        wait_s=seconds_of(amounts["wait"]),
        ran_s=seconds_of(amounts["ran"]),
        lost_s=seconds_of(amounts["lost"]),
        core_s=seconds_of(amounts["core"]),
        gpu_s=seconds_of(amounts["gpu_milli"]) / 1000,
        energy_j=amounts["energy_milli"] / 1000,
        cpu_energy_j=amounts["cpu_energy_milli"] / 1000,
        money=amounts["money"] / MILLIONTHS,
        bytes_moved=amounts["bytes_moved"],
        bytes_saved=amounts["bytes_saved"],
    )
