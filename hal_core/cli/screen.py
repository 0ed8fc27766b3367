"""A picture on the terminal that is drawn again in place, until a key or Ctrl-C ends it. Over ssh like anywhere else.

It knows nothing of what it shows: lines come in, each cut to the width. Where there is no terminal, one picture is
printed, and that is all: so it can be piped.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hal_core.cli.console import COLOURS, Console, is_terminal

COLUMNS_MAX = 100
"""Wider lines are hard to read, and many terminals have no more."""
INTERVAL_S = 2.0
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The terminal's second screen, without a cursor; and back, so that what was there before is there again."""

Line = tuple[str, str]
"""A line and its colour (the empty string: none), without control characters."""
Picture = Callable[[int, int], list[Line]]
"""What is to be seen, for so many columns and rows."""


def show(console: Console, picture: Picture, interval_s: float = INTERVAL_S) -> int:
    """Draw until somebody presses q. The exit code."""
    if not is_terminal(sys.stdout) or not is_terminal(sys.stdin):
        for text, colour in picture(COLUMNS_MAX, sys.maxsize):
            console.line(cut(text, COLUMNS_MAX).rstrip(), colour)
        return 0
    with _second_screen():
        while True:
            size = os.get_terminal_size(sys.stdout.fileno())
            columns = min(size.columns, COLUMNS_MAX)
            draw(picture(columns, size.lines)[: size.lines], columns, console.has_colours)
            if _is_key_pressed(interval_s):
                return 0


def draw(lines: list[Line], columns: int, has_colours: bool) -> None:
    """All at once, so that nothing flickers. What was longer before is cleared line by line."""
    painted = []
    for text, colour in lines:
        seen = cut(text, columns)
        painted.append(f"\x1b[{COLOURS[colour]}m{seen}\x1b[0m\x1b[K" if colour and has_colours else f"{seen}\x1b[K")
    sys.stdout.write("\x1b[H" + "\n".join(painted) + "\x1b[J")
    sys.stdout.flush()


def cut(text: str, columns: int) -> str:
    """As much of it as there is room for. Some characters take two columns, and some none."""
    if text.isascii():
        return text[:columns]
    taken = 0
    for at, character in enumerate(text):
        taken += 0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        if taken > columns:
            return text[:at]
    return text


@contextmanager
def _second_screen() -> Iterator[None]:
    """Keys come one by one and are not shown; all of it is undone at the end, whatever ends it."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _is_key_pressed(within_s: float) -> bool:
    """Whether somebody wants to leave: q, or nobody is there any more. Other keys draw at once."""
    ready, _, _ = select.select([sys.stdin], [], [], within_s)
    return bool(ready) and os.read(sys.stdin.fileno(), 64).lower() in (b"q", b"")
