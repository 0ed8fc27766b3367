"""Lines of a text file that may be gzipped, damaged, or no text at all. Memory is bounded, whatever the file holds."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from hal_core.errors import Problem

GZIP_MAGIC = b"\x1f\x8b"
LINE_BYTES_MAX = 1 << 20
"""A longer line is no job: the rest of it is skipped."""


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | Problem]]:
    """Numbered lines without blanks around them. A damaged gzip file ends where the damage is."""
    buffered = io.BufferedReader(cast("io.RawIOBase", stream))  # any binary stream will do; only `peek` is needed
    is_gzip = buffered.peek(2)[:2] == GZIP_MAGIC
    source = io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=buffered))) if is_gzip else buffered
    number = 0
    try:
        while raw := source.readline(LINE_BYTES_MAX):
            number += 1
            if len(raw) == LINE_BYTES_MAX and not raw.endswith(b"\n"):
                _skip_line(source.readline)
                yield number, Problem(f"line {number}", f"longer than {LINE_BYTES_MAX >> 20} MiB")
            else:
                yield number, raw.strip()
    except (OSError, EOFError, zlib.error) as error:
        yield number + 1, Problem(f"line {number + 1}", f"the file is damaged from here on: {error}")
    finally:
        buffered.detach()  # the stream is the caller's to close


def _skip_line(readline: Callable[[int], bytes]) -> None:
    while rest := readline(LINE_BYTES_MAX):
        if rest.endswith(b"\n"):
            return
