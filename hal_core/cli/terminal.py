"""Being at the terminal of a job (`hal run --pty`): raw mode, window size, and the job's end as one's own.

What is typed goes out in requests of its own, each answered when the node has taken it; what is shown comes as one
endless answer. The job lives as long as that answer is read: however this process ends, the job ends too.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import time

from hal_core.cli.console import Console
from hal_core.client.http import query
from hal_core.client.transport import Connection, NoAnswer, Rejected

TYPE_CHECKING = False

READ_BYTES = 4096
PAUSE_S = 0.1
PATIENCE_S = 50.0
"""A terminal waits a minute for its client when the daemon is restarted."""
OPTIONS = (["input", "/dev/tty"], ["output", "/dev/null"], ["spread", "job"])
"""How a job asks for a terminal."""


class Shown:
    """What the terminal of a job shows. `is_here` once it has one; at its end the job has ended."""

    def __init__(self, console: Console, job_id: int) -> None:
        self._console = console
        self._job_id = job_id
        self._connection: Connection | None = None
        self._lost_s: float | None = None
        self.is_here = False
        self._has_mark = False
        self.is_over = False

    def fileno(self) -> int:
        return -1 if self._connection is None else self._connection.fileno()

    def take(self, timeout_s: float = 0.0) -> bytes:
        """What there is to show now. Raises NoAnswer if the daemon stays away."""
        try:
            if self._connection is None:
                self._begin()
            assert self._connection is not None
            data = self._connection.receive(timeout_s)
            self._lost_s = None if data else self._lost_s
            self.is_over = data is None
        except (NoAnswer, Rejected) as error:
            self.close()
            if isinstance(error, Rejected) and error.status != 503:
                raise
            self._lost_s = time.monotonic() if self._lost_s is None else self._lost_s
            if time.monotonic() - self._lost_s > PATIENCE_S:
                raise
            time.sleep(PAUSE_S)
            return b""
        if data and not self._has_mark:
            self.is_here = self._has_mark = True
            data = data[1:]
        return data or b""

    def _begin(self) -> None:
        rows, columns = window_size()
        self._has_mark = False
        self._connection = Connection(self._console.connection.path)
        self._connection.begin("GET", query(f"/v1/jobs/{self._job_id}/terminal", rows=rows, columns=columns))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def attend(console: Console, job_id: int) -> None:
    """Until the job has ended. Raises KeyboardInterrupt if it is interrupted before it has begun."""
    shown = Shown(console, job_id)
    resized: list[int] = []
    signal.signal(signal.SIGWINCH, lambda number, frame: resized.append(number))
    try:
        while not shown.is_here and not shown.is_over:
            data = shown.take(1.0)
            console.progress("" if shown.is_here or shown.is_over else f"job {job_id} waits")
            show(data)
        with raw_mode():
            unsent = b""
            while not shown.is_over:
                waiting = [descriptor for descriptor in (shown.fileno(), 0 if not unsent else -1) if descriptor >= 0]
                select.select(waiting, [], [], PAUSE_S)
                show(shown.take())
                if not unsent and select.select([0], [], [], 0)[0]:
                    unsent = os.read(0, READ_BYTES)
                if resized or unsent:
                    was_taken = write(console, job_id, unsent)
                    unsent = b"" if was_taken else unsent
                    resized.clear()
    finally:
        shown.close()


def write(console: Console, job_id: int, data: bytes) -> bool:
    """Whether the terminal took it."""
    rows, columns = window_size()
    body = {"data": base64.b64encode(data).decode(), "rows": rows, "columns": columns}
    try:
        console.post(f"/v1/jobs/{job_id}/terminal", body)
    except NoAnswer:
        return False
    except Rejected as error:
        if error.status not in (404, 409, 429, 503):
            raise
        time.sleep(PAUSE_S)
        return False
    return True


def show(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def window_size() -> tuple[int | None, int | None]:
    try:
        size = os.get_terminal_size(0)
    except OSError:
        return None, None
    return (size.lines, size.columns) if size.lines and size.columns else (None, None)


class raw_mode:
    """Standard input without line editing, echo and signals, which are the job's; as it was at the end."""

    def __enter__(self) -> None:
        import termios
        import tty

        self._before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSANOW)

    def __exit__(self, *_: object) -> None:
        import termios

        termios.tcsetattr(0, termios.TCSANOW, self._before)
