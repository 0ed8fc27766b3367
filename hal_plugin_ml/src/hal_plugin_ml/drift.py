"""Notices when predictions have become worse than they were: the cluster, or what people do on it, has changed.

ADWIN (Bifet and Gavaldà, SDM 2007), from river. Imported with the first job that ends, in the thread that learns: that
import takes a second, and a daemon that starts must not wait for it.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("hal.ml")


class DriftWatch:
    """Counts the times that errors changed for the worse."""

    def __init__(self) -> None:
        self.count = 0
        self._detector: Any = None
        """An ADWIN, once there was an error."""

    def update(self, error: float) -> None:
        """The size of the latest error, in logarithms of seconds."""
        if self._detector is None:
            from river import drift

            self._detector = drift.ADWIN()  # type: ignore[no-untyped-call]
        before = self._detector.estimation
        self._detector.update(error)
        if self._detector.drift_detected and self._detector.estimation > before:
            self.count += 1
            logger.warning(
                "run times are predicted worse than before: something has changed (noticed %d times)", self.count
            )
