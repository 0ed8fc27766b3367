"""The launcher's formats: what is written is read again, what is damaged is not believed, and what it may import."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hal_core.agent.book import end_of
from hal_core.agent.launcher import fields, records
from hal_core.agent.launcher.fields import BadFrame, Fields
from hal_core.agent.launcher.job.program import Program as JobProgram
from hal_core.agent.orders import Order, Program, cancel_frame, launch_frame, stop_frame
from hal_core.models.job import End, EndKind

raw = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b""))
raws = st.lists(raw, max_size=4)


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    programs = []
    for _ in range(draw(st.integers(1, 3))):
        program = Program(draw(st.integers(0, 2**32)), draw(st.integers(0, 2**32)))
        program.directory, program.script = draw(raw), draw(raw)
        program.arguments, program.environment = draw(raws), draw(raws)
        program.walltime_s, program.grace_s = draw(st.floats(0, allow_nan=False)), 5.0
        programs.append(program)
    made = []
    for number in range(draw(st.integers(1, 6))):
        order = Order(f"{number}.0.1", draw(st.sampled_from(programs)), draw(st.text(max_size=9)).replace("\0", ""))
        order.environment, order.tasks = draw(raws), draw(st.lists(raws, max_size=3))
        order.input_path, order.output_path, order.error_path = draw(raw), draw(raw), draw(raw)
        order.is_appending = draw(st.booleans())
        order.cpus = draw(st.lists(st.integers(0, 999), max_size=4))
        order.cpu_quota = order.memory_bytes = order.pids_max = draw(st.integers(0, 2**62))
        order.prolog, order.epilog, order.hook_environment = draw(raw), draw(raw), draw(raws)
        order.hook_timeout_s = draw(st.floats(0, allow_nan=False))
        made.append(order)
    return made


def check_same(read: fields.Order, written: Order) -> None:
    """What the supervisor reads, and from what it passes on the process that has become the user."""
    program = JobProgram(read.program, b"")
    assert read.task_count == len(written.tasks)
    assert program.environment == [*written.program.environment, *written.environment]
    assert program.arguments == written.program.arguments
    assert program.directory == written.program.directory
    assert program.cpus == set(written.cpus)
    for name in ("uid", "gid", "walltime_s", "grace_s", "script"):
        assert getattr(read, name) == getattr(written.program, name)
    for name in ("key", "fault", "cpu_quota", "memory_bytes", "pids_max"):
        assert getattr(read, name) == getattr(written, name)
    for name in ("prolog", "epilog", "hook_environment", "hook_timeout_s"):
        assert getattr(read, name) == getattr(written, name)
    for name in ("tasks", "input_path", "output_path", "error_path", "is_appending"):
        assert getattr(program, name) == getattr(written, name)


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
        check_same(fields.Order(whole), order)


@given(st.lists(st.binary(max_size=10), max_size=30))
def test_decoder_that_runs_as_root_takes_garbage_calmly(garbage: list[bytes]) -> None:
    with contextlib.suppress(BadFrame):
        fields.split_launch(Fields(garbage))
    with contextlib.suppress(BadFrame):
        fields.Order(Fields(garbage))


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
    end.node_fault = f"epilog {detail}"
    return end


@given(st.text(max_size=100), st.floats(0, 1e10), st.integers(1, 2**22))
def test_record_is_read_as_it_was_written(detail: str, time_s: float, pid: int) -> None:
    detail = detail.encode("utf-8", "replace").decode()
    data = records.claim_line("boot") + records.run_line(pid) + records.start_line(time_s)
    data += records.cancel_line(2.5) + records.end_line(some_end(detail))
    record = records.parse(data)
    assert (record.boot_id, record.supervisor_pid) == ("boot", pid)
    assert (record.start_time_s, record.cancel_grace_s) == (time_s, 2.5)
    assert record.end is not None
    end = End(EndKind.EXITED, exit_code=3, peak_memory_bytes=1 << 40, cpu_s=0.25, detail=detail)
    assert end_of(record.end) == (12.5, end, f"epilog {detail}")
    assert end_of(record.end[:-1]) == (12.5, end, ""), "as an older version wrote it"


WHOLE = records.claim_line("boot") + records.run_line(7) + records.start_line(1.5) + records.end_line(some_end("x"))


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_flipped_bit_never_changes_what_is_told(place: int, bit: int) -> None:
    """A line is believed whole or not at all: no other end, no other start."""
    damaged = bytearray(WHOLE)
    damaged[place] ^= 1 << bit
    record, whole = records.parse(bytes(damaged)), records.parse(WHOLE)
    assert record.start_time_s in (None, whole.start_time_s)
    assert record.supervisor_pid in (0, whole.supervisor_pid)
    assert record.end is None or (record.end[0], record.end[2]) == ("exited", "3")


@given(st.integers(0, len(WHOLE)))
def test_torn_record_is_a_beginning_of_the_whole_one(length: int) -> None:
    record = records.parse(WHOLE[:length])
    assert record.end is None or length >= len(WHOLE) - 1


def test_first_end_counts() -> None:
    record = records.parse(records.end_line(some_end("first")) + records.end_line(some_end("second")))
    assert record.end is not None
    assert record.end[6] == "first"


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


def test_limit_and_infinity_survive_the_way_through_text() -> None:
    assert float(b"%r" % math.inf) == math.inf
