"""A picture on the terminal that is drawn again in place, until a key or Ctrl-C ends it. Over ssh like anywhere else.

It knows nothing of what it shows: lines come in, each cut to the width. Where there is no terminal, one picture is
printed, and that is all: so it can be piped.
"""

from __future__ import annotations

import os
import select
import signal
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
    with _second_screen() as resized:
        while True:
            columns, rows = os.get_terminal_size(sys.stdout.fileno())
            columns = min(columns, COLUMNS_MAX)
            sys.stdout.write(painted(picture(columns, rows)[:rows], columns, rows, console.has_colours))
            sys.stdout.flush()
            if _is_left(interval_s, resized):
                return 0


def painted(lines: list[Line], columns: int, rows: int, has_colours: bool) -> str:
    """What draws it, all at once, so that nothing flickers.

    A line is cleared before it is written: after a character in the last column the cursor stands on it, in most
    terminals, and to clear from there on would take it away.
    """
    shown = []
    for text, colour in lines:
        seen = cut(text, columns)
        shown.append(f"\x1b[K\x1b[{COLOURS[colour]}m{seen}\x1b[0m" if colour and has_colours else f"\x1b[K{seen}")
    return "\x1b[H" + "\n".join(shown) + ("\n\x1b[J" if len(shown) < rows else "")


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
def _second_screen() -> Iterator[int]:
    """Keys come one by one and are not shown; all of it is undone at the end, whatever ends it. Gives a descriptor from
    which something can be read when the terminal has another size."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    resized, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    signal.signal(signal.SIGWINCH, lambda *_: None)
    tty.setcbreak(keyboard)
    sys.stdout.write(ENTER)
    try:
        yield resized
    finally:
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(resized)
        os.close(signalled)
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _is_left(within_s: float, resized: int) -> bool:
    """Whether somebody wants to leave: q, or nobody is there any more. Other keys, and another size, draw at once."""
    keyboard = sys.stdin.fileno()
    ready, _, _ = select.select([keyboard, resized], [], [], within_s)
    if resized in ready:
        os.read(resized, 4096)
    return keyboard in ready and os.read(keyboard, 64).lower() in (b"q", b"")
