"""A bound on the bytes that pass in a second, for all transfers over one link together."""

from __future__ import annotations

from typing import Final

import trio

IDLE_S: Final = 0.1
"""What was not used for so long may be made up for; what was not used before that is lost."""


class Bound:
    """Whoever has moved a piece waits until its time has passed. Turns go round: a transfer has one piece at a time, so
    transfers that go on at once have equal parts, whoever began first."""

    def __init__(self, bytes_per_s: float) -> None:
        """0: no bound."""
        self._bytes_per_s = bytes_per_s
        self._due_s = 0.0

    async def passed(self, byte_count: int) -> None:
        """So many bytes have just passed."""
        if self._bytes_per_s:
            self._due_s = max(self._due_s, trio.current_time() - IDLE_S) + byte_count / self._bytes_per_s
            await trio.sleep_until(self._due_s)


UNBOUND: Final = Bound(0.0)
