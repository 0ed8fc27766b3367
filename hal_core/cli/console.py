"""The terminal and the daemon as one command sees them: all printing and all requests of the CLI pass through here.

Results go to stdout; notes, problems and progress go to stderr, with control characters escaped. Colours and progress
appear on a terminal only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from hal_core.cli.formats import escaped, table
from hal_core.cli.usage import UsageError
from hal_core.client.address import find_socket
from hal_core.client.transport import Answer, Connection, insist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "bold": "1", "dim": "2"}
SLOW_ANSWER_TIMEOUT_S = 600.0
"""Millions of events can be read in that time."""
PAGE_MAX = 1000


class Console:
    """One per process. The connection is opened when the first request is made."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self._connection: Connection | None = None
        self._progress = ""
        plain = "NO_COLOR" in environ or environ.get("TERM") == "dumb"
        self.has_colours = not plain and is_terminal(sys.stdout)
        self.has_progress = is_terminal(sys.stderr) and environ.get("TERM") != "dumb"

    # Printing

    def line(self, text: str = "", colour: str = "") -> None:
        """One line of the result. `text` must have been escaped if it holds anything from outside."""
        if self.has_colours and colour and text:
            text = f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"
        print(text)

    def write(self, text: str) -> None:
        """A text of the caller's own, as it is."""
        print(text, end="" if text.endswith("\n") else "\n")

    def table(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[str]],
        right: Sequence[bool] = (),
        colours: Sequence[str] = (),
    ) -> None:
        """`colours` has one entry for each row, or is empty."""
        head, *lines = table(heads, rows, right)
        self.line(head, "bold")
        for at, line in enumerate(lines):
            self.line(line, colours[at] if colours else "")

    def flush(self) -> None:
        """For output that somebody watches as it comes."""
        if sys.stdout is not None:
            sys.stdout.flush()

    def body(self, answer: Answer) -> None:
        """The daemon's answer as it came, on a line of its own: what `--json` promises."""
        print(answer.body.decode("utf-8", "backslashreplace").rstrip("\n"))

    def note(self, text: str) -> None:
        """One line for each line of `text`, on stderr."""
        self.progress("")
        for line in text.split("\n"):
            print(f"hal: {escaped(line)}", file=sys.stderr)

    def progress(self, text: str) -> None:
        """Replace the progress line; the empty text removes it. Nothing unless stderr is a terminal."""
        if self.has_progress and text != self._progress:
            self._progress = text
            sys.stderr.write(f"\r\x1b[K{escaped(text)}")
            sys.stderr.flush()

    # The daemon

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = Connection(find_socket(self.environ))
            except ValueError as error:
                raise UsageError(str(error)) from None
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def get(self, target: str) -> Answer:
        """Reading can be repeated: a restart of the daemon is waited for."""
        return insist(lambda left_s: self.connection.request("GET", target, timeout_s=left_s))

    def get_slowly(self, target: str) -> Answer:
        """What the daemon must read much for. It is repeated as in `get`, but an answer may take its time."""
        return insist(lambda _: self.connection.request("GET", target, timeout_s=SLOW_ANSWER_TIMEOUT_S))

    def post(self, target: str, body: Mapping[str, Any]) -> Answer:
        return self.connection.request("POST", target, body)


def is_terminal(stream: TextIO | None) -> bool:
    """False for a stream that was closed by the caller (`>&-`)."""
    return stream is not None and not stream.closed and stream.isatty()


def temporary_directory(console: Console) -> str:
    return console.environ.get("TMPDIR") or "/tmp"  # noqa: S108  what is made there has a random name and mode 0700


def own_name() -> str:
    """The name of the user who runs this, as the daemon sees it."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
