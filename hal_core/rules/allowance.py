"""What limits leave to starts in one pass: now, and when the elastic jobs that leave have left. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hal_core.models.job import JobId
from hal_core.models.quota import Quota


class Allowance:
    """`quota` is of the snapshot; None: there are no limits. What starts must be within both."""

    def __init__(self, quota: Quota | None) -> None:
        self._now = None if quota is None else quota.without({})
        self._soon = None if quota is None else quota.without({})

    def has(self, job_id: JobId, count: int = 1) -> bool:
        """Whether so many elements of the job may start now."""
        return self._now is None or (self._now.left(job_id) >= count and self.will_have(job_id, count))

    def will_have(self, job_id: JobId, count: int = 1) -> bool:
        """Whether they may when those that leave have left."""
        return self._soon is None or self._soon.left(job_id) >= count

    def would_have(self, job_id: JobId, leaving: JobId) -> bool:
        """Whether one may if another element of `leaving` left."""
        if self._soon is None:
            return True
        self._soon.take(leaving, -1)
        would = self.will_have(job_id)
        self._soon.take(leaving, 1)
        return would

    def leavers(self, job_id: JobId, count: int, held: Mapping[JobId, int]) -> dict[JobId, int]:
        """How many running elements of each job must leave so that those may start: of `held`, whose first ones leave
        first, and no more than needed. None if all of them would not do."""
        if self._soon is None:
            return {}
        soon, leaving = self._soon, dict[JobId, int]()
        for other, all_count in held.items():
            soon.take(other, -all_count)
        if self.will_have(job_id, count):
            for other, all_count in reversed(list(held.items())):
                staying = self._most_staying(job_id, count, (other, all_count))
                soon.take(other, staying)
                leaving[other] = all_count - staying
            for other, some in leaving.items():
                soon.take(other, some)
            return leaving
        for other, all_count in held.items():
            soon.take(other, all_count)
        return {}

    def _most_staying(self, job_id: JobId, count: int, held: tuple[JobId, int]) -> int:
        """Of one job, beside what stays already."""
        assert self._soon is not None
        other, most = held
        least = 0
        while least < most:
            tried = (least + most + 1) // 2
            self._soon.take(other, tried)
            least, most = (tried, most) if self.will_have(job_id, count) else (least, tried - 1)
            self._soon.take(other, -tried)
        return least

    def take(self, job_id: JobId, count: int = 1, is_now: bool = True) -> None:
        """So many start: now, or when others have left. Below 0: so many leave."""
        if self._now is not None and is_now:
            self._now.take(job_id, count)
        if self._soon is not None:
            self._soon.take(job_id, count)
