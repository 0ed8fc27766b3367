"""A histogram of plain integers: what an event adds is one step of one of them, and the library sees it at a scrape."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily

BOUNDS_S: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0, 86400.0, 604800.0)
LABELS: Final = (*map(str, BOUNDS_S), "+Inf")


class Bins:
    """Durations in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * len(LABELS)
        self._sum_s = 0.0

    def add(self, duration_s: float) -> None:
        self._counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self._sum_s += duration_s

    def family(self, name: str, about: str) -> HistogramMetricFamily:
        buckets = list(zip(LABELS, map(float, accumulate(self._counts)), strict=True))
        return HistogramMetricFamily(name, about, buckets=buckets, sum_value=self._sum_s)
