"""`hal logs` of large files, and of files with few line ends: in pieces, never the whole in memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hal_core.cli.logs import BLOCK_BYTES, last_lines
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


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"a", b"1\n2\n3", b"1\n\n3\n", b"50 %\r100 %\nend\n", b"a\n" * BLOCK_BYTES]
)
@pytest.mark.parametrize("number", [1, 2, 9, 40_000])
def test_the_last_lines_are_those_that_end_with_a_line_end(text, number):
    lines = text.split(b"\n")
    whole, rest = [line + b"\n" for line in lines[:-1]], lines[-1:] if lines[-1] else []
    last = b"".join([*whole, *rest][-number:])
    assert text[last_lines(io.BytesIO(text), number) :] == last


@pytest.mark.parametrize("length", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_the_last_lines_are_found_where_blocks_meet(length):
    text = b"x" * length + b"\n" + b"y" * length + b"\n"
    assert [last_lines(io.BytesIO(text), number) for number in (1, 2, 3)] == [length + 1, 0, 0]


def test_the_last_lines_of_a_file_with_few_line_ends_are_found_without_keeping_it(tmp_path):
    path = tmp_path / "17.out"
    path.write_bytes(b"first\n" + b"x" * FILE_BYTES)
    with path.open("rb", buffering=0) as file, memory_below(FILE_BYTES // 8):
        assert last_lines(file, 1) == len(b"first\n")
        assert last_lines(file, 5) == 0
