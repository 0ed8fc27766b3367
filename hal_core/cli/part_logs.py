"""`hal logs` of what has several outputs: elements of an array, and nodes of a job that names its file with `%N`.

A line is told when it is whole, with what it is of before it (`3`, `n1`, `3 n1`), so those of different files never
mix. Elements that had ended before are not told again; each has its own output (`hal logs 17_3`). What is not on this
machine is said once. No file stays open: thousands may be written at once.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import chain

from hal_core.cli.console import Console
from hal_core.cli.show import element_pages, find_element
from hal_core.cli.tail import PIECE_BYTES
from hal_core.cli.waiting import FINAL, tell_end
from hal_core.models.patterns import expand_pattern
from hal_core.models.ranges import RangeSet, parse_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO, Any, BinaryIO

LINE_BYTES_MAX = 64 * 1024
"""A longer one is told in pieces."""
PAUSE_S_MIN, PAUSE_S_MAX = 0.2, 2.0
WORK_SHARE = 0.2
"""Of the time, at most, is spent on looking."""
MISSING_S = 10.0
"""After so long a file that should be written is said not to be here: network file systems show one late."""
LABELS_MAX = 5


class Parts:
    """The outputs of a job, or of one element of it (`index`). `start_at` says where in a file to begin."""

    def __init__(
        self, job_id: int, index: int | None, pattern: str, start_at: Callable[[IO[bytes]], int] | None = None
    ) -> None:
        self.job_id = job_id
        self.index = index
        self._pattern = pattern
        self._start_at = start_at

    def look(self, console: Console) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The job, and its elements as entries of the list."""
        view: dict[str, Any] = console.get(f"/v1/jobs/{self.job_id}").json()
        if self.index is not None:
            element = find_element(console, self.job_id, self.index)[1]
            return {**view, **element}, [{**element, "indices": str(self.index)}]
        if view["array"] is None:
            return view, [view["element"]]
        return view, [entry for page in element_pages(console, self.job_id) for entry in page.json()["elements"]]

    def files(self, view: dict[str, Any], entry: dict[str, Any], index: int) -> list[Lines]:
        """Those of one element; none if it is not told on which nodes it runs or ran."""
        number = str(index) if view["array"] is not None and self.index is None else ""
        if not is_by_node(self._pattern):
            return [Lines(number, expand_pattern(self._pattern, {"a": str(index)}), self._start_at)]
        nodes = [share["node"] for share in entry["nodes"]]
        writing = nodes[:1] if view["spread"] == "job" else nodes
        found = []
        for node in writing:
            path = expand_pattern(self._pattern, {"a": str(index), "N": node})
            label = f"{number} {node}" if len(writing) > 1 else number
            found.append(Lines(label.strip(), path, self._start_at))
        return found


def is_by_node(pattern: str) -> bool:
    """Whether each node of a job has an output of its own."""
    return "%N" in pattern.replace("%%", "")


def copy(console: Console, parts: Parts, is_path: bool) -> int:
    """What is there now, one file after the other; with `is_path` the paths only."""
    view, entries = parts.look(console)
    found = [
        each for entry in entries for index in _indices(entry["indices"]) for each in parts.files(view, entry, index)
    ]
    if not found:
        console.note(f"job {parts.job_id}: its output is named after its node, and it has none yet")
        return 1
    for lines in found:
        if is_path:
            console.line(lines.path)
        else:
            lines.copy(sys.stdout.buffer, has_ended=True)
    sys.stdout.flush()
    missing = [] if is_path else [lines for lines in found if not lines.was_found]
    _tell_missing(console, missing)
    return 1 if missing and len(missing) == len(found) else 0


def follow(console: Console, parts: Parts) -> int:
    """Until all has ended."""
    following = _Following(console, parts)
    pause_s = PAUSE_S_MIN
    while True:
        begin_s = time.monotonic()
        view, entries = parts.look(console)
        has_news = following.copy(view, entries)
        if view["state"] in FINAL:
            following.tell_lost()
            tell_end(console, {**view, "job_id": parts.job_id})
            return 0
        pause_s = PAUSE_S_MIN if has_news else min(pause_s * 1.2, PAUSE_S_MAX)
        time.sleep(max(pause_s, (time.monotonic() - begin_s) / WORK_SHARE))


class _Following:
    def __init__(self, console: Console, parts: Parts) -> None:
        self._console = console
        self._parts = parts
        self._running: dict[int, tuple[int, list[Lines]]] = {}
        """Of each element the attempt and the files that are followed."""
        self._over: RangeSet | None = None
        """Elements of which there is nothing more to tell."""
        self._lost = RangeSet()
        """They ended unseen, and where is not told any more."""

    def copy(self, view: dict[str, Any], entries: list[dict[str, Any]]) -> bool:
        """Tell what is new, if there is anything."""
        ended = RangeSet(pair for each in entries if each["state"] in FINAL for pair in parse_ranges(each["indices"]))
        if self._over is None:
            is_array = view["array"] is not None and self._parts.index is None
            self._over = ended.copy() if is_array else RangeSet()
        for entry in entries:
            if entry["state"] not in ("PENDING", "STAGING"):
                self._take(view, entry, self._over)
        has_news = False
        for index, (_, files) in list(self._running.items()):
            for lines in files:
                has_news = lines.copy(sys.stdout.buffer, index in ended) or has_news
            if index in ended:
                self._over.add(index)
        sys.stdout.flush()
        _tell_missing(self._console, [lines for _, files in self._running.values() for lines in files if lines.is_due])
        self._running = {index: each for index, each in self._running.items() if index not in ended}
        return has_news

    def tell_lost(self) -> None:
        if self._lost:
            number = sum(stop - start for start, stop in self._lost.ranges())
            self._console.note(f"{number} elements ended unseen, and on which nodes they ran is not told any more")

    def _take(self, view: dict[str, Any], entry: dict[str, Any], over: RangeSet) -> None:
        for index in _indices(entry["indices"], over):
            attempt, files = self._running.get(index, (0, []))
            if attempt == entry["attempt"]:
                continue
            fresh = self._parts.files(view, entry, index)
            if not fresh and entry["state"] in FINAL and not files:
                self._lost.add(index)
                over.add(index)
                continue
            known = {lines.path for lines in files}  # A later attempt appends to the file of the one before.
            added = [lines for lines in fresh if lines.path not in known]
            self._running[index] = entry["attempt"], [*files, *added]


def _indices(text: str, without: RangeSet | None = None) -> Iterable[int]:
    found = RangeSet(parse_ranges(text))
    for start, stop in without.ranges() if without else ():
        found.discard(start, stop)
    return found


def _tell_missing(console: Console, missing: list[Lines]) -> None:
    if not missing:
        return
    labels = [lines.label for lines in missing if lines.label]
    more = f" and {len(labels) - LABELS_MAX} more" if len(labels) > LABELS_MAX else ""
    of = f"{', '.join(labels[:LABELS_MAX])}{more}: " if labels else ""
    why = "it is on another machine, or nothing was written"
    console.note(f"{of}{missing[0].path} is not here: {why}")
    for lines in missing:
        lines.was_told = True


class Lines:
    """One output file."""

    def __init__(self, label: str, path: str, start_at: Callable[[IO[bytes]], int] | None = None) -> None:
        self.label = label
        """Before each line; empty: the file is copied as it is."""
        self.path = path
        self.was_found = False
        self.was_told = False
        """That it is not here."""
        self._start_at = start_at
        self._begin_s = time.monotonic()
        self._has_ended = False
        self._at = 0
        self._rest = b""

    @property
    def is_due(self) -> bool:
        """Whether it is time to say that it is not here."""
        is_late = self._has_ended or time.monotonic() - self._begin_s > MISSING_S
        return is_late and not self.was_found and not self.was_told

    def copy(self, stream: BinaryIO, has_ended: bool) -> bool:
        """Tell the lines that are whole, and at the end what is left. Whether there was anything new."""
        self._has_ended = has_ended
        has_news = False
        for piece in self._pieces():
            has_news = True
            self._tell(stream, piece)
        if has_ended and self._rest:
            self._tell(stream, b"\n")
        return has_news

    def _tell(self, stream: BinaryIO, piece: bytes) -> None:
        if not self.label:
            stream.write(piece)
            return
        *whole, rest = (self._rest + piece).split(b"\n")
        *parts, self._rest = _cut(rest)
        label = self.label.encode()
        lines = chain(chain.from_iterable(map(_cut, whole)), parts)
        stream.write(b"".join(b"%s: %s\n" % (label, line) for line in lines))

    def _pieces(self) -> Iterator[bytes]:
        """What is new, up to where the file ends now: one that grows fast does not keep the others waiting."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                if not self.was_found and self._start_at is not None:
                    self._at = self._start_at(file)
                self.was_found = True
                size = file.seek(0, os.SEEK_END)
                self._at = file.seek(0 if size < self._at else self._at)  # Another attempt has begun it anew.
                while piece := file.read(min(PIECE_BYTES, size - self._at)):
                    self._at += len(piece)
                    yield piece
        except FileNotFoundError:
            return


def _cut(line: bytes) -> list[bytes]:
    """In pieces that may be told; at least one, which is empty if the line is."""
    return [line[at : at + LINE_BYTES_MAX] for at in range(0, max(len(line), 1), LINE_BYTES_MAX)]
