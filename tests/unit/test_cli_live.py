"""`hal top` and `hal queue --watch`: in place on a real terminal, never wider than it, which is then as before."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from hal_core.cli.formats import escaped
from hal_core.cli.queue import queue_lines
from hal_core.cli.screen import COLUMNS_MAX, ENTER, LEAVE, painted
from hal_core.cli.top import head_lines
from tests.support.cli import COMMAND, environment, hal
from tests.support.rest_bodies import STATUS, job
from tests.support.scripted_server import ScriptedServer

WITHIN_S = 60.0
HOME, CLEARED = "\x1b[H", "\x1b[J"
"""What a picture begins and ends with."""
WAITING = {"kind": "priority", "text": "jobs before it in the queue come first"}
WAITS = job(job_id=13, state="PENDING", nodes="", reason=WAITING, name="n" * 80, start_time_s=None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(tmp_path / "hal.sock") as running:
        running.answer("GET", "/v1/status", STATUS)
        running.answer("GET", "/v1/jobs", {"jobs": [job(), WAITS], "next_cursor": None, "counts": {}, "sequence": 9})
        yield running


class Terminal:
    """`hal` on a terminal of that size, with somebody at it."""

    def __init__(self, server: Path, columns: int, *words: str, command: Sequence[str] = COMMAND) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT", *command, *words],  # a test in the background may have it ignored
            env=environment(server) | {"TERM": "xterm"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        self._theirs = theirs
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # A read may end within a character.

    def picture(self) -> str:
        """The next one that begins, when it is whole."""
        self.seen = ""
        self.until(HOME)
        self.seen = self.seen[self.seen.index(HOME) :]
        self.until(CLEARED)
        return self.seen

    def until(self, text: str) -> None:
        end_s = time.monotonic() + WITHIN_S
        while text not in self.seen:
            assert select.select([self.ours], [], [], max(end_s - time.monotonic(), 0))[0], (
                f"no {text!r}: {self.seen!r}"
            )
            self.seen += self._decoder.decode(os.read(self.ours, 65536))

    def resize(self, columns: int) -> None:
        """As a terminal that somebody drags, or one at the other end of ssh: the size first, then the signal."""
        termios.tcsetwinsize(self._theirs, (24, columns))
        os.killpg(self.process.pid, signal.SIGWINCH)

    def press(self, key: bytes) -> int:
        """The exit code after that key, and the terminal must be as it was."""
        os.write(self.ours, key)
        self.until(LEAVE)
        code = self.process.wait(WITHIN_S)
        assert termios.tcgetattr(self._theirs) == self.before
        os.close(self._theirs)
        os.close(self.ours)
        return code


@pytest.mark.parametrize(("key", "code", "columns"), [(b"q", 0, 80), (b"\x03", 130, 100)])
def test_top_is_drawn_in_place_until_it_is_left(server: ScriptedServer, key: bytes, code: int, columns: int) -> None:
    wide = job(name="計算" * 40, user="長" * 60, nodes="é́" * 30 + "節" * 90)
    server.answer("GET", "/v1/jobs", {"jobs": [job(), wide, WAITS], "next_cursor": None, "counts": {}, "sequence": 9})
    terminal = Terminal(server.path, columns, "top")
    terminal.until(ENTER)
    for _ in range(2):  # The second comes by itself.
        assert "jobs before it" in terminal.picture()
    if key == b"\x03":
        os.killpg(terminal.process.pid, 2)
        key = b""
    assert terminal.press(key) == code
    assert all(cells(line) <= columns for line in lines_of(terminal.seen.replace(LEAVE, "")))


def test_the_queue_follows_the_size_of_its_terminal(server: ScriptedServer) -> None:
    waits = WAITS | {"reason": {"kind": "priority", "text": "because " * 20}}
    server.answer("GET", "/v1/jobs", {"jobs": [waits] * 9, "next_cursor": None, "counts": {}, "sequence": 9})
    terminal = Terminal(server.path, 100, "queue", "--watch")
    terminal.until(ENTER)
    for columns in (100, 61, 140):
        terminal.resize(columns)
        end_s = time.monotonic() + WITHIN_S
        while max(map(cells, lines_of(terminal.picture()))) != min(columns, COLUMNS_MAX):
            assert time.monotonic() < end_s, f"no picture of {columns} columns: {terminal.seen!r}"
    assert terminal.press(b"Q") == 0


def test_another_size_is_drawn_at_once(tmp_path: Path) -> None:
    """Here no other picture would come within the hour."""
    program = (
        "import os; from hal_core.cli.console import Console; from hal_core.cli.screen import show; "
        "show(Console(os.environ), lambda columns, rows: [(f'{columns} x {rows}', '')], 3600.0)"
    )
    terminal = Terminal(tmp_path, 80, command=[sys.executable, "-c", program])
    terminal.until("80 x 24")
    terminal.resize(60)
    terminal.until("60 x 24")
    assert terminal.press(b"q") == 0


def test_a_terminal_that_is_gone_ends_it(server: ScriptedServer) -> None:
    """As when an ssh connection breaks."""
    terminal = Terminal(server.path, 100, "queue", "--watch")
    terminal.until(ENTER)
    os.close(terminal.ours)
    terminal.process.wait(WITHIN_S)


@given(lines=st.lists(st.text("ab", min_size=1, max_size=30), min_size=1, max_size=6), columns=st.integers(1, 30))
def test_nothing_is_cleared_behind_what_was_written(lines: list[str], columns: int) -> None:
    """It would take away a character in the last column."""
    drawn = painted([(line, "bold") for line in lines], columns, 6, has_colours=True)
    assert not re.search(r"[ab](\x1b\[[0-9]*m)*\x1b\[[KJ]", drawn)
    assert lines_of(drawn.replace("\n", "\r\n"))[: len(lines)] == [line[:columns] for line in lines]
    assert (CLEARED in drawn) == (len(lines) < 6)


def lines_of(picture: str) -> list[str]:
    """Without what a terminal does not show."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", picture).split("\r\n")


def cells(text: str) -> int:
    """Columns of a terminal, but for what combines with the character before it."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else not unicodedata.combining(each) for each in text)


def test_without_a_terminal_it_is_one_picture(server: ScriptedServer) -> None:
    for words in (["top"], ["queue", "--watch"]):
        result = hal(server.path, *words)
        assert (result.code, result.err) == (0, "")
        assert "\x1b" not in result.out
        assert max(len(line) for line in result.out.splitlines()) <= COLUMNS_MAX
        assert "jobs before it" in result.out


def test_what_cannot_go_together_is_refused(server: ScriptedServer) -> None:
    result = hal(server.path, "queue", "--watch", "--json")
    assert (result.code, "--watch" in result.err) == (2, True)


TEXTS = st.text(max_size=150)


@given(name=TEXTS, user=TEXTS, reason=TEXTS, columns=st.integers(20, 300))
def test_no_line_is_wider_than_a_hundred_columns_or_has_control_characters(
    name: str, user: str, reason: str, columns: int
) -> None:
    row: dict[str, Any] = job(name=name, user=user, state="PENDING", nodes="", reason={"kind": "x", "text": reason})
    lines = queue_lines([row, job()], 1764000000.0, columns) + head_lines(STATUS, columns)
    assert all(escaped(text) == text for text, _ in lines)
    assert all(len(text) <= columns for text, _ in queue_lines([row], 1764000000.0, columns))
