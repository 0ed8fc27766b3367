"""`hal logs -f` of a whole array: the lines of all elements as they are written, each with the index it is of.

Elements that had ended before are not told again; each has its own output (`hal logs 17_3`). A line is told when it is
whole, so those of different elements never mix. No file stays open: thousands may run at once.
"""

from __future__ import annotations

import sys
import time

from hal_core.cli.console import Console
from hal_core.cli.show import element_pages
from hal_core.cli.waiting import FINAL, tell_end
from hal_core.models.ranges import RangeSet, parse_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    PathOf = Callable[[dict[str, Any], dict[str, Any], int], str | None]
    """The output of one element, by an entry of the list, the job and the index; None: not known yet."""

LINE_BYTES_MAX = 64 * 1024
"""A longer one is told in pieces."""
PAUSE_S_MIN, PAUSE_S_MAX = 0.2, 2.0
WORK_SHARE = 0.2
"""Of the time, at most, is spent on looking."""


def follow_array(console: Console, job_id: int, path_of: PathOf) -> int:
    """Until the array has ended."""
    running: dict[int, Lines] = {}
    known: RangeSet | None = None
    """Whose output is followed, or is over."""
    pause_s = PAUSE_S_MIN
    while True:
        begin_s = time.monotonic()
        view = console.get(f"/v1/jobs/{job_id}").json()
        entries = [entry for page in element_pages(console, job_id) for entry in page.json()["elements"]]
        ended = RangeSet(
            pair for entry in entries if entry["state"] in FINAL for pair in parse_ranges(entry["indices"])
        )
        known = ended.copy() if known is None else known
        for entry in entries:
            for index in _fresh(entry, known) if entry["state"] != "PENDING" else ():
                path = path_of(entry, view, index)
                if path is not None:
                    known.add(index)
                    running[index] = Lines(index, path)
        has_news = [lines.copy(sys.stdout.buffer, index in ended) for index, lines in running.items()]
        sys.stdout.flush()
        running = {index: lines for index, lines in running.items() if index not in ended}
        if view["state"] in FINAL:
            tell_end(console, {**view, "job_id": job_id})
            return 0
        pause_s = PAUSE_S_MIN if any(has_news) else min(pause_s * 1.2, PAUSE_S_MAX)
        time.sleep(max(pause_s, (time.monotonic() - begin_s) / WORK_SHARE))


def _fresh(entry: dict[str, Any], known: RangeSet) -> RangeSet:
    found = RangeSet(parse_ranges(entry["indices"]))
    for start, stop in known.ranges():
        found.discard(start, stop)
    return found


class Lines:
    """The output of one element."""

    def __init__(self, index: int, path: str) -> None:
        self._index = index
        self._path = path
        self._at = 0
        self._rest = b""

    def copy(self, stream: BinaryIO, has_ended: bool) -> bool:
        """Tell the lines that are whole, and at the end what is left. Whether there was anything new."""
        news = self._read()
        *lines, self._rest = (self._rest + news).split(b"\n")
        if self._rest and (has_ended or len(self._rest) > LINE_BYTES_MAX):
            lines, self._rest = [*lines, self._rest], b""
        stream.write(b"".join(b"%d: %s\n" % (self._index, line) for line in lines))
        return bool(news)

    def _read(self) -> bytes:
        try:
            with open(self._path, "rb", buffering=0) as file:
                size = file.seek(0, 2)
                self._at = file.seek(0 if size < self._at else self._at)  # Another attempt has begun it anew.
                news = file.read(size - self._at)
                self._at += len(news)
                return news
        except FileNotFoundError:
            return b""
