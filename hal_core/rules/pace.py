"""How fast nodes get datasets from their own replicas: what is configured, corrected by what was seen. Pure.

The sums fade with each transfer, so that some tens of them count; a ratio of sums, so that large ones count for more
than small ones. What is told changes only when it is wrong by more than a tenth: much is computed from it.
"""

from __future__ import annotations

from typing import Final

PRIOR_S: Final = 10.0
"""So many seconds of transfer the configured rate is worth."""
FADING: Final = 0.95
TOLERANCE: Final = 0.1


class Pace:
    """Of a whole cluster."""

    def __init__(self, bytes_read: float = 0.0, read_s: float = 0.0, told: float = 0.0) -> None:
        self._bytes = bytes_read
        self._seconds = read_s
        self._told = told
        """Bytes a second; 0: nothing was learned yet."""

    @property
    def figures(self) -> tuple[float, float, float]:
        """From which an equal one is made."""
        return self._bytes, self._seconds, self._told

    def rate(self, configured: float) -> float:
        """Bytes a second."""
        return self._told or configured

    def learn(self, bytes_read: int, read_s: float, configured: float) -> bool:
        """From one staging. Whether the rate is another one now."""
        if bytes_read <= 0 or read_s <= 0.0:
            return False
        self._bytes = self._bytes * FADING + bytes_read
        self._seconds = self._seconds * FADING + read_s
        seen = (PRIOR_S * configured + self._bytes) / (PRIOR_S + self._seconds)
        if abs(seen / self.rate(configured) - 1.0) <= TOLERANCE:
            return False
        self._told = seen
        return True
