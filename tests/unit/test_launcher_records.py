"""Records of attempts: what a full disk tears or a bad one changes is never believed, and never hides what follows."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hal_core.agent.launcher import records, supervisor

END = records.End("exited", 1_700_000_000.5, "all is well")
LINES = [
    records.claim_line("boot"),
    records.run_line(4711),
    records.start_line(1_700_000_000.0),
    records.cancel_line(2.5),
    records.end_line(END),
]


def plain(record: records.Record) -> dict[str, object]:
    return vars(record)


def test_what_is_written_is_read() -> None:
    record = records.parse(b"".join(LINES))
    assert (record.boot_id, record.supervisor_pid) == ("boot", 4711)
    assert (record.start_time_s, record.cancel_grace_s) == (1_700_000_000.0, 2.5)
    assert record.end is not None
    assert (record.end[0], record.end[6]) == ("exited", "all is well")
    assert not record.is_damaged


@given(st.integers(0, len(LINES) - 2), st.data())
def test_a_torn_line_does_not_spoil_the_next(number: int, data: st.DataObject) -> None:
    torn = LINES[number][: data.draw(st.integers(2, len(LINES[number]) - 1))]
    record = records.parse(b"".join([*LINES[:number], torn, LINES[-1]]))
    assert record.end is not None
    assert record.end[0] == "exited"
    if torn != LINES[number].rstrip(b"\n"):
        assert record.is_damaged


@given(st.integers(0, len(b"".join(LINES)) - 1), st.integers(0, 7))
def test_a_flipped_bit_changes_nothing_without_being_noticed(place: int, bit: int) -> None:
    content = bytearray(b"".join(LINES))
    content[place] ^= 1 << bit
    found = records.parse(bytes(content))
    assert found.is_damaged or plain(found) == plain(records.parse(b"".join(LINES)))


def test_an_end_that_the_disk_took_only_in_part_is_written_again(tmp_path: Path) -> None:
    """As on a full disk: the first write is cut short without an error, the next ones are refused."""
    path = tmp_path / "1.0.1"
    path.write_bytes(LINES[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(LINES[0]) + 20, hard))
            claim = os.open(path, os.O_WRONLY | os.O_APPEND)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            signal.signal(signal.SIGUSR1, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
            supervisor.write_durably(claim, LINES[-1])
            os._exit(0)
        finally:
            os._exit(1)
    while path.stat().st_size < len(LINES[0]) + 20 and os.waitpid(child, os.WNOHANG) == (0, 0):
        os.sched_yield()
    os.kill(child, signal.SIGUSR1)
    assert os.waitpid(child, 0)[1] == 0
    end = records.parse(path.read_bytes()).end
    assert end is not None
    assert end[0] == "exited"


def test_a_line_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "1.0.1"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            records.append(descriptor, LINES[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.close(descriptor)


def test_an_end_counts_after_however_many_cancels(tmp_path: Path) -> None:
    """A cancel is ordered again every two seconds until the end, which may take hours of grace."""
    path = tmp_path / "1.0.1"
    path.write_bytes(LINES[0] + 5000 * LINES[3] + LINES[-1])
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert records.read(descriptor).end is not None
    finally:
        os.close(descriptor)
