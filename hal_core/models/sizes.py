"""How large something is, as people say it."""

from __future__ import annotations

GIB = 1024**3


def size(size_bytes: float | None) -> str:
    """In GiB below ten with one decimal, in MiB if it is less than a tenth of a GiB; `-` for none or zero."""
    if not size_bytes:
        return "-"
    if size_bytes < GIB / 10:
        return f"{size_bytes / 1024**2:.1f} MiB"
    amount = size_bytes / GIB
    return f"{amount:.1f} GiB" if amount < 10 else f"{amount:.0f} GiB"
