"""`hal logs` of large files, and of files with few line ends: in pieces, never the whole in memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hal_core.cli.part_logs import LINE_BYTES_MAX, Lines
from hal_core.cli.tail import PIECE_BYTES

FILE_BYTES = 16 * PIECE_BYTES


class Told(io.BytesIO):
    """Keeps the first megabyte of what is written, and how much it was."""

    byte_count = 0

    def write(self, piece) -> int:
        self.byte_count += len(piece)
        return super().write(piece) if self.tell() < PIECE_BYTES else len(piece)


@contextmanager
def memory_below(limit_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("line", [b"x" * 99 + b"\n", b"x" * 100])
@pytest.mark.parametrize("label", ["", "n1"])
def test_the_output_of_a_node_is_copied_in_pieces(tmp_path, line, label):
    path = tmp_path / "n1.out"
    path.write_bytes(line * (FILE_BYTES // 100))
    told = Told()
    with memory_below(FILE_BYTES // 2):
        assert Lines(label, str(path)).copy(told, has_ended=True)
    assert told.byte_count >= FILE_BYTES // 100 * 100
    assert not Lines(label, str(tmp_path / "none.out")).copy(told, has_ended=True)


def test_a_longer_line_is_told_in_pieces_wherever_the_reading_stops(tmp_path):
    path = tmp_path / "n1.out"
    long = 2 * PIECE_BYTES + 5
    path.write_bytes(b"first\n\n" + b"x" * long + b"\n" + b"y" * LINE_BYTES_MAX + b"\nlast")
    stream = io.BytesIO()
    assert Lines("n1", str(path)).copy(stream, has_ended=True)
    told = [line.removeprefix(b"n1: ") for line in stream.getvalue().splitlines()]
    sizes = [LINE_BYTES_MAX] * (long // LINE_BYTES_MAX)
    assert [len(line) for line in told] == [5, 0, *sizes, 5, LINE_BYTES_MAX, 4]
    assert (told[0], told[-3], told[-1]) == (b"first", b"xxxxx", b"last")
