"""What a node's store has, who needs it, and what must go when something else is to come. Pure bookkeeping.

A copy is a whole dataset. Copies may have files in common, which count once. What an attempt holds and what is pinned
never goes; of the rest, what was used longest ago goes first. What is here and on its way is never beyond the budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set

import attrs

from hal_core.errors import Refused
from hal_core.models.dataset import Dataset, DatasetId


class NoRoom(Refused):
    """There is no room for it now; there may be when a job has ended. Budgets that never suffice are plain Refused."""


@attrs.define
class Copy:
    """A dataset that is here, or is being brought."""

    sizes: Mapping[str, int]
    """Digest -> bytes, of each of its files."""
    use_time_s: float
    is_pinned: bool = False
    is_whole: bool = False
    """All of it is here: jobs may read it."""


class Shelf:
    """`budget_bytes` bounds everything."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.copies: dict[DatasetId, Copy] = {}
        self.holders: dict[DatasetId, set[str]] = {}
        """Copy -> the attempts that need it. No set is empty."""
        self.loans: Counter[DatasetId] = Counter()
        """Copies that other nodes are reading now, and how many."""

    @property
    def used_bytes(self) -> int:
        """Of all files that are here or on their way, each once."""
        return sum(self._union(self.copies).values())

    def hold(self, holder: str, ids: Iterable[DatasetId]) -> None:
        """Copies that must stay until `release`."""
        for each in ids:
            assert each in self.copies, f"{each} is not here"
            self.holders.setdefault(each, set()).add(holder)

    def release(self, holder: str) -> bool:
        """The attempt needs nothing any more. True: it did."""
        held = [each for each, holders in self.holders.items() if holder in holders]
        for each in held:
            self.holders[each].discard(holder)
            if not self.holders[each]:
                del self.holders[each]
        return bool(held)

    def may_go(self, dataset_id: DatasetId) -> bool:
        is_needed = dataset_id in self.holders or self.loans[dataset_id]
        return not is_needed and not self.copies[dataset_id].is_pinned

    def admit(self, datasets: Iterable[Dataset], holder: str, now_s: float, disk_bytes: int) -> list[DatasetId]:
        """Take these on, held by the attempt, and say which copies must go before. Raises Refused, and then nothing
        has changed. `disk_bytes` is what the disk still takes."""
        wanted = {each.id: {file.sha256: file.size_bytes for file in each.files} for each in datasets}
        total = sum(self._merged(wanted.values()).values())
        if total > self.budget_bytes:
            raise Refused(f"the inputs have {total} bytes, and the store of this node holds {self.budget_bytes}")
        going = self._going(wanted, disk_bytes)
        for each in going:
            del self.copies[each]
        for dataset in datasets:
            known = self.copies.get(dataset.id)
            if known is None:
                known = self.copies[dataset.id] = Copy(wanted[dataset.id], now_s)
            known.use_time_s, known.is_pinned = now_s, dataset.is_pinned
        self.hold(holder, wanted)
        return going

    def needed(self) -> Set[str]:
        """The digests of all files that some copy needs."""
        return self._union(self.copies).keys()

    def _going(self, wanted: Mapping[DatasetId, Mapping[str, int]], disk_bytes: int) -> list[DatasetId]:
        """The copies that make room, those first that were used longest ago."""
        left = dict(self.copies)
        candidates = sorted(
            (each for each in left if each not in wanted and self.may_go(each)), key=lambda each: left[each].use_time_s
        )
        here = self._union(self.copies)
        going: list[DatasetId] = []
        while True:
            needed = self._union(left)
            after = self._merged([needed, *wanted.values()])
            gained = sum(size for digest, size in here.items() if digest not in after)
            coming = sum(size for digest, size in after.items() if digest not in here)
            if sum(after.values()) <= self.budget_bytes and coming <= disk_bytes + gained:
                return going
            if not candidates:
                raise NoRoom(
                    f"no room for {coming} bytes in the store of this node: of {self.budget_bytes} it may hold, "
                    f"{sum(needed.values())} are pinned or in use, and its disk has {disk_bytes} left"
                )
            going.append(candidates.pop(0))
            del left[going[-1]]

    def _union(self, copies: Mapping[DatasetId, Copy]) -> dict[str, int]:
        return self._merged(each.sizes for each in copies.values())

    @staticmethod
    def _merged(some: Iterable[Mapping[str, int]]) -> dict[str, int]:
        together: dict[str, int] = {}
        for each in some:
            together.update(each)
        return together
