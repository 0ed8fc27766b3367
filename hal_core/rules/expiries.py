"""When datasets are to be taken out: a heap of times, of which those that do not hold any more are left where they are.

So neither a removal nor a renewal looks at all others: the inputs of a bulk of jobs expire together. Pure.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from typing import Final

from hal_core.models.dataset import Dataset, DatasetId

STALE_MIN: Final = 64
"""So many are left in any case before all are looked at."""


class Expiries:
    """Of the datasets in `by_id`, which somebody else changes and tells of by `note`."""

    def __init__(self, by_id: Mapping[DatasetId, Dataset]) -> None:
        self._by_id = by_id
        self._heap: list[tuple[float, DatasetId]] = []

    def __len__(self) -> int:
        """With those that do not hold any more."""
        return len(self._heap)

    def note(self, dataset: Dataset) -> None:
        """It is new, or its time is another one, or it is pinned no more."""
        if dataset.is_pinned or dataset.expiry_time_s == math.inf:
            return
        heapq.heappush(self._heap, (dataset.expiry_time_s, dataset.id))
        if len(self._heap) > 2 * len(self._by_id) + STALE_MIN:
            self._heap = sorted(set(filter(self._holds, self._heap)))

    @property
    def next_s(self) -> float:
        """Infinity: never."""
        while self._heap and not self._holds(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def over(self, now_s: float) -> list[Dataset]:
        """Those whose time has come, the first first. They stay here until they are gone, or have more time."""
        found = list(dict.fromkeys(self._popped(now_s)))
        for each in found:
            heapq.heappush(self._heap, each)
        return [self._by_id[dataset_id] for _, dataset_id in found]

    def _popped(self, now_s: float) -> Iterator[tuple[float, DatasetId]]:
        while self.next_s <= now_s:
            yield heapq.heappop(self._heap)

    def _holds(self, entry: tuple[float, DatasetId]) -> bool:
        time_s, dataset_id = entry
        dataset = self._by_id.get(dataset_id)
        return dataset is not None and not dataset.is_pinned and dataset.expiry_time_s == time_s
