"""What a cloud says before it takes a machine back."""

from __future__ import annotations

import attrs


@attrs.frozen
class Notice:
    """`until_s`: seconds since the epoch; None: it is likely to be taken back, nobody says when."""

    until_s: float | None
    detail: str

    def left_s(self, now_s: float) -> float | None:
        return None if self.until_s is None else max(0.0, self.until_s - now_s)
