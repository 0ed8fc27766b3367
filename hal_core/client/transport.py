"""Requests to the daemon, blocking, with `socket` and `json` from the standard library only.

`Connection.request` is all that most callers need. It must not import trio, attrs or hal_core.errors: the start-up time
of the CLI is decided here. `Client` maps its two exceptions to the errors tree, and the CLI to one clear line.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator

from hal_core.client.http import LOCAL_IDENTITY, ResponseReader, request_bytes

TYPE_CHECKING = False  # importing typing would cost a tenth of a whole `hal submit`
if TYPE_CHECKING:
    from typing import Any

ANSWER_TIMEOUT_S = 9.0
"""Nobody waits longer than ten seconds to hear that the daemon is gone."""
RECEIVE_BYTES = 256 * 1024
BUSY_S_MAX = 2.0
"""A daemon that says to come back later than this is not busy but in trouble: its reason is told at once."""
STREAM_SILENCE_S_MAX = 40.0
"""Event streams carry a comment at least every 15 s; a stream that is silent for this long is dead."""


class NoAnswer(Exception):
    """The daemon could not be reached, or the connection broke. Outcome unknown: the request may have been done."""

    def __init__(self, text: str, is_outcome_unknown: bool = False) -> None:
        self.is_outcome_unknown = is_outcome_unknown
        super().__init__(text)


class Rejected(Exception):
    """The daemon answered with an error. `problems` are (place, text); `kind` is one of docs/reference/rest.md."""

    def __init__(self, status: int, error: dict[str, Any], retry_after_s: float) -> None:
        self.status = status
        self.kind = str(error.get("kind", ""))
        self.retry_after_s = retry_after_s
        self.problems = [
            (str(each.get("place", "")), str(each.get("text", ""))) for each in error.get("problems") or ()
        ]
        super().__init__(str(error.get("text") or f"the daemon answered with status {status}"))


class Answer:
    """A successful answer: the bytes as they came, and what they say."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NoAnswer(f"the daemon's answer is not JSON ({error}); is another program on this socket?") from None


class Connection:
    """A connection that is opened when first used and kept for the next request. Use it from one thread."""

    def __init__(self, path: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.path = path
        self.timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._reader = ResponseReader()
        self._body: list[bytes] = []
        self._identity = LOCAL_IDENTITY

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(self, method: str, target: str, body: object = None, timeout_s: float | None = None) -> Answer:
        """One request and its answer. Raises Rejected for an error status, NoAnswer if nothing (whole) came back."""
        self.begin(method, target, body)
        answer = self.poll(self.timeout_s if timeout_s is None else timeout_s)
        if answer is None:
            self.close()
            raise NoAnswer(
                f"the daemon at {self.path} does not answer; is it stopped or overloaded?", is_outcome_unknown=True
            )
        return answer

    def begin(self, method: str, target: str, body: object = None) -> None:
        """Send a request; its answer comes from `poll`."""
        content = None if body is None else json.dumps(body).encode("ascii")
        self._send(method, target, content)

    def poll(self, timeout_s: float) -> Answer | None:
        """The answer to `begin` if it is whole within `timeout_s`, else None: ask again."""
        deadline_s = time.monotonic() + timeout_s
        while not self._reader.is_complete:
            data = self._receive(deadline_s - time.monotonic())
            if data is None:
                return None
            self._body.append(data)
        body = b"".join(self._body)
        if not self._reader.can_be_reused:
            self.close()
        return checked_answer(self._reader, body)

    def fileno(self) -> int:
        """For `select`; -1 without a connection."""
        return -1 if self._socket is None else self._socket.fileno()

    def receive(self, timeout_s: float) -> bytes | None:
        """What came of the body of an answer without an end; nothing if nothing did in time; None at its end."""
        if self._reader.is_complete:
            self.close()
            checked_answer(self._reader, b"".join(self._body))
            return None
        data = self._receive(timeout_s) or b""
        if self._reader.status >= 400:
            self._body.append(data)
            return b""
        return data

    def lines(self, target: str, silence_s_max: float = STREAM_SILENCE_S_MAX) -> Iterator[str | None]:
        """The lines of a streamed answer as they come. The connection is closed at the end.

        None is given whenever nothing came for `silence_s_max`: the caller decides whether that is the end.
        """
        self._send("GET", target, None, "text/event-stream")
        rest = b""
        try:
            while not self._reader.is_complete:
                data = self._receive(silence_s_max)
                if data is None:
                    yield None
                    continue
                if self._reader.status >= 400:
                    self._body.append(data)
                    continue
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield line.removesuffix(b"\r").decode("utf-8", "replace")
            checked_answer(self._reader, b"".join(self._body))
        finally:
            self.close()

    def _connect(self) -> socket.socket:
        if "://" not in self.path:
            return connect(self.path, self.timeout_s)
        from hal_core.client.remote import Remote

        remote = Remote(self.path)
        self._identity = remote.headers(os.environ)
        return remote.connect(self.timeout_s)

    def _send(self, method: str, target: str, content: bytes | None, accept: str = "application/json") -> None:
        self._reader, self._body = ResponseReader(), []
        if self._socket is not None and self._was_closed_meanwhile():
            self.close()
        if self._socket is None:
            self._socket = self._connect()
        data = request_bytes(method, target, content, accept, self._identity)
        try:
            self._socket.settimeout(self.timeout_s)
            self._socket.sendall(data)
        except TimeoutError:
            self.close()
            raise NoAnswer(f"the daemon at {self.path} does not take the request", is_outcome_unknown=True) from None
        except OSError:
            # The daemon may refuse a body that is too large before it has read all of it: its answer can still be read.
            return

    def _was_closed_meanwhile(self) -> bool:
        """Whether the daemon has closed the kept connection (it does when idle, or when it restarts)."""
        assert self._socket is not None
        self._socket.settimeout(0)
        try:
            self._socket.recv(1)
        except OSError as error:
            # Of TLS it has a name of its own, and importing ssl for it would cost every command.
            return not isinstance(error, BlockingIOError) and type(error).__name__ != "SSLWantReadError"
        return True

    def _receive(self, timeout_s: float) -> bytes | None:
        """Body bytes that arrived (perhaps none yet), or None if nothing came in time."""
        assert self._socket is not None, "no request was begun"
        self._socket.settimeout(max(timeout_s, 0.0001))
        try:
            data = self._socket.recv(RECEIVE_BYTES)
            if data:
                return self._reader.feed(data)
            self._reader.end()
            return b""
        except TimeoutError:
            return None
        except (OSError, ValueError) as error:
            self.close()
            raise NoAnswer(
                f"the connection to the daemon at {self.path} broke off: {error}", is_outcome_unknown=True
            ) from None


def connect(path: str, timeout_s: float) -> socket.socket:
    """A connected socket. Raises NoAnswer with the way out."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(timeout_s)
        found.connect(path)
    except OSError as error:
        found.close()
        raise NoAnswer(why_unreachable(path, error)) from None
    return found


def why_unreachable(path: str, error: OSError) -> str:
    """One line: what is wrong, and the way out."""
    if isinstance(error, FileNotFoundError):
        why = "no daemon runs here: start one with `hal dev`, or say where it is with HAL_SERVER=/path/of/hal.sock"
    elif isinstance(error, ConnectionRefusedError):
        why = "nobody listens on it: the daemon has ended; start it again (`hal dev`, or `hal daemon` for a cluster)"
    elif isinstance(error, PermissionError):
        why = "you have no right to use this socket; ask your administrator, or start your own with `hal dev`"
    elif isinstance(error, TimeoutError | BlockingIOError):
        why = "the daemon does not answer; is it stopped or overloaded?"
    else:
        why = f"{error.strerror or error}; say where the daemon is with HAL_SERVER=/path/of/hal.sock"
    return f"cannot reach the daemon at {path}: {why}"


def checked_answer(reader: ResponseReader, body: bytes) -> Answer:
    """The answer. Raises Rejected if its status says so."""
    if reader.status < 400:
        return Answer(reader.status, body)
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    error = found.get("error") if isinstance(found, dict) else None
    after = reader.headers.get("retry-after", "1")
    raise Rejected(reader.status, error if isinstance(error, dict) else {}, float(after) if after.isdecimal() else 1.0)


class Patience:
    """How long to repeat a request that is safe to repeat, while the daemon is busy or restarts. Pure.

    If nobody listens from the beginning, that is the answer at once.
    """

    def __init__(self, now_s: float, patience_s: float = ANSWER_TIMEOUT_S) -> None:
        self._deadline_s = now_s + patience_s
        self._is_outcome_unknown = False

    def left_s(self, now_s: float) -> float:
        return max(self._deadline_s - now_s, 0.1)

    def pause_s(self, error: NoAnswer | Rejected, now_s: float) -> float:
        """How long to wait before the next attempt. Raises `error`, or one that says as much, if there is none."""
        if isinstance(error, NoAnswer):
            self._is_outcome_unknown = self._is_outcome_unknown or error.is_outcome_unknown
            pause_s, is_worth_it = 0.2, self._is_outcome_unknown
        else:
            pause_s, is_worth_it = error.retry_after_s, is_worth_waiting(error)
        if is_worth_it and now_s + pause_s <= self._deadline_s:
            return pause_s
        if isinstance(error, NoAnswer):
            raise NoAnswer(str(error), self._is_outcome_unknown) from None
        raise error


def is_worth_waiting(error: Rejected) -> bool:
    """Busy, or asked too often: it will go well in a moment."""
    return error.status == 429 or (error.status == 503 and error.retry_after_s <= BUSY_S_MAX)


def insist(attempt: Callable[[float], Answer]) -> Answer:
    """Repeat what is safe to repeat. `attempt` is given the seconds that are left."""
    patience = Patience(time.monotonic())
    while True:
        try:
            return attempt(patience.left_s(time.monotonic()))
        except (NoAnswer, Rejected) as error:
            pause_s = patience.pause_s(error, time.monotonic())
        time.sleep(pause_s)
