"""Amounts of memory: K, M, G, T and P are powers of 1024 as in Slurm, and a bare number is mebibytes."""

from __future__ import annotations

import re
from typing import Final

from hal_core.parsing.text import shown, wrong

MEMORY_BYTES_MAX: Final = 2**60
_UNIT_BYTES: Final = {"P": 2**50, "T": 2**40, "G": 2**30, "M": 2**20, "K": 2**10}
_AMOUNT = re.compile(r"([0-9]{1,20})(?:(B)|([KMGTP])(?:I?B)?)?", re.IGNORECASE | re.ASCII)


def parse_memory(text: str) -> int:
    """Bytes. `10G`, `10GB` and `10GiB` are the same, as in Slurm; `4096` is 4096 MiB; `512B` is bytes."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        hint = "; a fraction is written in the next smaller unit: 1536M" if "." in text else ""
        raise wrong(f"{shown(text)} is not an amount of memory; write 4096 (MiB), 512M, 10G or 2T{hint}")
    number, is_bytes, unit = match.groups()
    value = int(number) * (1 if is_bytes else _UNIT_BYTES[(unit or "M").upper()])
    if value > MEMORY_BYTES_MAX:
        raise wrong(f"{shown(text)} is more than {format_memory(MEMORY_BYTES_MAX)}")
    return value


def format_memory(amount_bytes: int) -> str:
    """The shortest exact text in the largest unit that divides the amount."""
    for unit, unit_bytes in _UNIT_BYTES.items():
        if amount_bytes and amount_bytes % unit_bytes == 0:
            return f"{amount_bytes // unit_bytes}{unit}"
    return f"{amount_bytes}B" if amount_bytes else "0"
