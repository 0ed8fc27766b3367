"""Workers in any language: a program that reads tasks from its stdin and writes results to its stdout.

The protocol is in docs/reference/session-pipes.md. Each worker of a session keeps one such program: it starts with the
worker's first task, and its stdin is closed at the end. One that ends before is started again for the next task.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import attrs

from hal_core.errors import TaskFailed

HEADER_BYTES_MAX: Final = 64
KINDS: Final = (b"result", b"error")


@attrs.define
class PipeProgram:
    """A function from bytes to bytes that a program computes: `s.map(PipeProgram(["./worker"]), items)`."""

    words: Sequence[str]
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, item: bytes | str) -> bytes:
        """Raises TaskFailed if the program says so, ends, or says what is not the protocol."""
        data = item.encode() if isinstance(item, str) else item
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"task %d\n" % len(data) + data)
            process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("ended before it had read its task") from None
        kind, _, length = process.stdout.readline(HEADER_BYTES_MAX).strip().partition(b" ")
        if kind not in KINDS or not length.isdigit():
            raise self._failure(f"answered {kind[:20]!r} {length[:20]!r}, which is no `result LENGTH`")
        body = process.stdout.read(int(length))
        if len(body) < int(length):
            raise self._failure(f"ended after {len(body)} of {int(length)} bytes of a result")
        if kind == b"error":
            raise TaskFailed(body.decode("utf-8", "replace"))
        return body

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            self._process = subprocess.Popen(list(self.words), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise TaskFailed(f"{self.words[0]} cannot be started: {error.strerror}") from None
        return self._process

    def _failure(self, what: str) -> TaskFailed:
        """The program cannot be believed any more; the next task gets another."""
        return TaskFailed(f"{self.words[0]} {what} (exit code {self._end()})")

    def _end(self) -> int | None:
        """Its exit code. What it still says is of no interest, and must not keep it from ending."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        return process.wait()
