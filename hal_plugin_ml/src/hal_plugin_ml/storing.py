"""What was learned, as a file: JSON with a version in its head, compressed. Never pickle: a file must not be a program.

A user and all that is known of them take some hundred bytes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Hashable
from typing import Any, Final

from hal_core import InvalidInput, Problem

FORMAT: Final = "hal-ml"
VERSION: Final = 3
"""Grows when what is stored changes its meaning; older files are refused, for training again takes a minute."""
SIZE_MAX: Final = 1 << 30
"""Of the unpacked text: a file that unpacks to more is not one of ours."""


def packed(learned: dict[str, Any]) -> bytes:
    head = {"format": FORMAT, "version": VERSION}
    return zlib.compress(json.dumps({**head, **learned}, separators=(",", ":")).encode("ascii"))


def unpacked(content: bytes) -> dict[str, Any]:
    """Raises InvalidInput if it is not what `packed` made."""
    try:
        unpacker = zlib.decompressobj()
        learned = json.loads(unpacker.decompress(content, SIZE_MAX))
    except (zlib.error, ValueError) as error:
        raise InvalidInput([not_ours(f"it cannot be read ({error})")]) from None
    if not isinstance(learned, dict) or learned.get("format") != FORMAT:
        raise InvalidInput([not_ours("it is something else")])
    if learned.get("version") != VERSION:
        raise InvalidInput([not_ours(f"it has version {learned.get('version')!r}, not {VERSION}; train again")])
    return learned


def not_ours(why: str) -> Problem:
    return Problem("warm_start", f"this is no file that `hal train` wrote for this plugin: {why}")


def rows(mapping: dict[Any, Any]) -> list[list[Any]]:
    """Keys may be tuples, which JSON does not know: pairs instead."""
    return [[key, value] for key, value in mapping.items()]


def key_of(stored: Any) -> Hashable:
    """Lists are tuples again."""
    return tuple(map(key_of, stored)) if isinstance(stored, list) else stored
