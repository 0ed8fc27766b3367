"""Notices when predictions have become worse than they were: the cluster, or what people do on it, has changed.

ADWIN (Bifet and Gavaldà, SDM 2007), from river. That import takes seconds on a busy machine, so it begins with the
first job that ends, in a thread of its own: neither a daemon that starts nor a prediction waits for it. Errors until
then are not looked at.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

logger = logging.getLogger("hal.ml")


class DriftWatch:
    """Counts the times that errors changed for the worse."""

    def __init__(self) -> None:
        self.count = 0
        self._detector: Any = None
        """An ADWIN, once it is loaded."""
        self._loader: threading.Thread | None = None

    def load(self) -> None:
        """Returns when errors are looked at."""
        from river import drift

        self._detector = drift.ADWIN()  # type: ignore[no-untyped-call]

    def update(self, error: float) -> None:
        """The size of the latest error, in logarithms of seconds."""
        detector = self._detector
        if detector is None:
            if self._loader is None:
                self._loader = threading.Thread(target=self.load, name="river", daemon=True)
                self._loader.start()
            return
        before = detector.estimation
        detector.update(error)
        if detector.drift_detected and detector.estimation > before:
            self.count += 1
            logger.warning(
                "run times are predicted worse than before: something has changed (noticed %d times)", self.count
            )
