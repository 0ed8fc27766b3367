"""A bound on the bytes that pass in a second, for all transfers over one link together."""

from __future__ import annotations

from typing import Final

import trio

TURN_BYTES: Final = 64 << 10
"""So much passes in one turn: what a pipe gives at once."""
TURN_S: Final = 0.00025
"""On a fast link a turn takes so long and has more bytes: waking has its price."""
IDLE_S: Final = 0.1
"""What was not used for so long may be made up for; what was not used before that is lost."""


class Bound:
    """Whoever has moved a piece waits until its time has passed. Turns go round, and a large piece takes several equal
    ones. So of transfers that go on at once, whoever began first, none has more than twice what another has, as long as
    its pieces have TURN_BYTES or more; of those whose pieces are multiples of that, all have the same.
    """

    def __init__(self, bytes_per_s: float) -> None:
        """0: no bound."""
        self._bytes_per_s = bytes_per_s
        self._turn_bytes = max(TURN_BYTES, int(bytes_per_s * TURN_S))
        self._due_s = 0.0

    async def passed(self, byte_count: int) -> None:
        """So many bytes have just passed."""
        if not self._bytes_per_s or not byte_count:
            return
        turn_count = -(-byte_count // self._turn_bytes)
        for _ in range(turn_count):
            due_s = max(self._due_s, trio.current_time() - IDLE_S)
            self._due_s = due_s + byte_count / turn_count / self._bytes_per_s
            await trio.sleep_until(self._due_s)


UNBOUND: Final = Bound(0.0)
