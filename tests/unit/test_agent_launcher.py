"""The launcher's formats: what is written is read again, what is damaged is not believed, and what it may import."""

from __future__ import annotations

import ast
import contextlib
import io
import math
import os
import sys
import tokenize
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hal_core.agent import launcher
from hal_core.agent.launcher import fields, records
from hal_core.agent.launcher.fields import BadFrame, Fields, Order, Program
from hal_core.agent.orders import cancel_frame, launch_frame, stop_frame

LINES_MAX = 1300
"""Of code, in the whole folder; without cgroups, formats and failpoints it is below 1,000."""
raw = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b""))
raws = st.lists(raw, max_size=4)


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    programs = []
    for _ in range(draw(st.integers(1, 3))):
        program = Program()
        program.uid, program.gid = draw(st.integers(0, 2**32)), draw(st.integers(0, 2**32))
        program.directory, program.script = draw(raw), draw(raw)
        program.arguments, program.environment = draw(raws), draw(raws)
        program.walltime_s, program.grace_s = draw(st.floats(0, allow_nan=False)), 5.0
        programs.append(program)
    made = []
    for number in range(draw(st.integers(1, 6))):
        order = Order()
        order.key, order.program, order.fault = f"{number}.0.1", draw(st.sampled_from(programs)), ""
        order.environment, order.tasks = draw(raws), draw(st.lists(raws, max_size=3))
        order.input_path, order.output_path, order.error_path = draw(raw), draw(raw), draw(raw)
        order.is_appending = draw(st.booleans())
        order.cpus = draw(st.lists(st.integers(0, 999), max_size=4))
        order.cpu_quota = order.memory_bytes = order.pids_max = draw(st.integers(0, 2**62))
        made.append(order)
    return made


def values(order: Order) -> list[object]:
    names = [name for name in Order.__slots__ if name != "program"]
    program = [getattr(order.program, name) for name in Program.__slots__]
    return [getattr(order, name) for name in names] + program


@given(orders())
def test_orders_are_read_as_they_were_written(given_orders: list[Order]) -> None:
    buffer = bytearray(launch_frame(given_orders))
    frame = fields.take_frame(buffer)
    assert frame is not None
    assert not buffer
    assert frame.raw() == b"launch"
    split = fields.split_launch(frame)
    assert [key for key, _ in split] == [order.key for order in given_orders]
    for order, (_, parts) in zip(given_orders, split, strict=True):
        whole = fields.take_frame(bytearray(fields.pack(parts)))
        assert whole is not None
        assert values(fields.read_order(whole)) == values(order)


@given(st.lists(st.binary(max_size=10), max_size=30))
def test_decoder_that_runs_as_root_takes_garbage_calmly(garbage: list[bytes]) -> None:
    with contextlib.suppress(BadFrame):
        fields.split_launch(Fields(garbage))
    with contextlib.suppress(BadFrame):
        fields.read_order(Fields(garbage))


def test_frames_are_taken_whole_and_bounded() -> None:
    buffer = bytearray(cancel_frame("1.0.1", 2.5) + stop_frame())
    cancel = fields.take_frame(buffer)
    assert cancel is not None
    assert (cancel.raw(), cancel.text(), cancel.number()) == (b"cancel", "1.0.1", 2.5)
    half = bytearray(buffer[:-1])
    assert fields.take_frame(half) is None
    with pytest.raises(BadFrame):
        fields.take_frame(bytearray(b"\xff\xff\xff\xff"))


def test_field_with_a_nul_byte_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="NUL"):
        cancel_frame("1.0\0.1", 1.0)


def some_end(detail: str) -> records.End:
    end = records.End("exited", 12.5, detail)
    end.exit_code, end.peak_memory_bytes, end.cpu_s = 3, 1 << 40, 0.25
    return end


@given(st.text(max_size=100), st.floats(0, 1e10), st.integers(1, 2**22))
def test_record_is_read_as_it_was_written(detail: str, time_s: float, pid: int) -> None:
    detail = detail.encode("utf-8", "replace").decode()
    data = records.claim_line("boot") + records.run_line(pid, [b"HAL_JOB_ID=1"]) + records.start_line(time_s)
    data += records.cancel_line(2.5) + records.end_line(some_end(detail))
    record = records.parse(data)
    assert (record.boot_id, record.supervisor_pid, record.marks) == ("boot", pid, [b"HAL_JOB_ID=1"])
    assert (record.start_time_s, record.cancel_grace_s) == (time_s, 2.5)
    assert record.end is not None
    told = [getattr(record.end, name) for name in records.End.__slots__]
    assert told == [getattr(some_end(detail), name) for name in records.End.__slots__]


WHOLE = records.claim_line("boot") + records.run_line(7, []) + records.start_line(1.5) + records.end_line(some_end("x"))


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_flipped_bit_never_changes_what_is_told(place: int, bit: int) -> None:
    """A line is believed whole or not at all: no other end, no other start."""
    damaged = bytearray(WHOLE)
    damaged[place] ^= 1 << bit
    record, whole = records.parse(bytes(damaged)), records.parse(WHOLE)
    assert record.start_time_s in (None, whole.start_time_s)
    assert record.supervisor_pid in (0, whole.supervisor_pid)
    assert record.end is None or (record.end.kind, record.end.exit_code) == ("exited", 3)


@given(st.integers(0, len(WHOLE)))
def test_torn_record_is_a_beginning_of_the_whole_one(length: int) -> None:
    record = records.parse(WHOLE[:length])
    assert record.end is None or length >= len(WHOLE) - 1


def test_first_end_counts() -> None:
    record = records.parse(records.end_line(some_end("first")) + records.end_line(some_end("second")))
    assert record.end is not None
    assert record.end.detail == "first"


@pytest.mark.parametrize(
    "name", ["../../victim", "1.0", "1.0.1.1", "1.0.x", "", "-1.0.1", "1.0.\u0663", "1" * 30 + ".0.1"]
)
def test_only_three_numbers_are_a_key(name: str) -> None:
    assert not records.is_key(name)


def test_claim_is_made_once_and_its_lock_tells_who_lives(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    claim = records.claim(directory, "1.0.1", b"first", "test.new")
    assert claim is not None
    assert records.claim(directory, "1.0.1", b"second", "test.new") is None
    assert os.listdir(tmp_path) == ["1.0.1"]
    assert (tmp_path / "1.0.1").read_bytes() == b"first"
    assert records.take_lock(directory, "1.0.1") is None
    os.close(claim)
    again = records.take_lock(directory, "1.0.1")
    assert again is not None
    assert records.take_lock(directory, "2.0.1") is None
    os.close(again)
    os.close(directory)


def test_root_code_is_small_and_uses_the_standard_library_alone() -> None:
    """S34: what may run as root can be read in one sitting."""
    lines, imported = 0, set()
    for path in Path(str(launcher.__file__)).parent.glob("*.py"):
        text = path.read_text()
        tree = ast.parse(text)
        for found in ast.walk(tree):
            if isinstance(found, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in found.names}
            elif isinstance(found, ast.ImportFrom) and found.level == 0:
                imported.add(str(found.module).split(".")[0])
        lines += len(_code_lines(text))
    assert imported - {"launcher"} <= sys.stdlib_module_names
    assert lines <= LINES_MAX, f"{lines} lines of code"


def _code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold code: no comments, no blank lines, no documentation."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code: set[int] = set()
    previous = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_text = token.type == tokenize.STRING and previous in silent
        if token.type not in silent and not is_text:
            code.update(range(token.start[0], token.end[0] + 1))
        previous = token.type
    return code


def test_limit_and_infinity_survive_the_way_through_text() -> None:
    assert float(b"%r" % math.inf) == math.inf
