"""The contract of data sources: the bytes of an address from any offset on, or an error if they are not all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import pytest
import trio

from hal_core.errors import UserError
from hal_core.planes import DataSource
from hal_core.testing.breaking_off import ends_within, growing_steps, one_error

PATIENCE_S: Final = 60.0
PIECE_BYTES_MAX: Final = 16 << 20


async def check_data_source(
    source: DataSource, address: str, content: bytes, absent: str, damaged: Sequence[str] = ()
) -> None:
    """`address` is that of a file with this content, of at least two bytes; at `absent` there is none. Of what is at
    the addresses `damaged` not all comes: a transfer that ends early must not look like one that is complete."""
    half = len(content) // 2
    with trio.fail_after(PATIENCE_S):
        for offset in (0, half, len(content) - 1, len(content), len(content) + 1):
            assert await _read(source, address, offset) == content[offset:], f"wrong bytes from offset {offset}"
        async with source.reading(address, 0) as pieces:
            async for _ in pieces:
                break  # Broken off after one piece, it can be read again.
        assert await _read(source, address, half) == content[half:]
        await _check_two_at_once(source, address, content)
        for offset in (0, half):
            with pytest.raises(UserError) as caught:
                await _read(source, absent, offset)
            assert absent in str(caught.value), "the error does not name the address"
        for short in damaged:
            with pytest.raises((UserError, OSError)):
                pytest.fail(f"{short} is damaged, and {len(await _read(source, short, 0))} bytes of it pass for all")


async def check_data_source_broken_off(source: DataSource, address: str, content: bytes) -> None:
    """Broken off wherever, in the middle of a piece too, the next one who reads gets all."""
    for steps in growing_steps():
        with trio.fail_after(PATIENCE_S):
            is_done = await ends_within(steps, partial(_read, source, address, 0), lambda when: None)
            assert await _read(source, address, 0) == content, f"wrong bytes after a break after {steps} steps"
        if is_done:
            return


async def _check_two_at_once(source: DataSource, address: str, content: bytes) -> None:
    """Several files come at the same time, and one file for several nodes."""
    half = len(content) // 2
    wrong: list[int] = []

    async def read(offset: int) -> None:
        if await _read(source, address, offset) != content[offset:]:
            wrong.append(offset)

    with one_error():
        async with trio.open_nursery() as nursery:
            for offset in (0, half, 0):
                nursery.start_soon(read, offset)
    assert not wrong, f"wrong bytes from offset {wrong[0]} when several read at once"


async def _read(source: DataSource, address: str, offset: int) -> bytes:
    content = bytearray()
    async with source.reading(address, offset) as pieces:
        async for piece in pieces:
            assert len(piece) <= PIECE_BYTES_MAX, f"a piece of {len(piece)} bytes"
            content += piece
    return bytes(content)
