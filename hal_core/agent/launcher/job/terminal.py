"""The terminal of an interactive job: a pseudo-terminal on the node, whose other end goes to the agent as a stream.

Runs as the owner of the job: what is opened, started and read here is the user's own. The process between them waits
for the job's program and ends as it did. What the program writes goes to the agent as it is; what comes from there are
messages: a letter, four bytes of length, and so much. `i` is input, `w` a window size ("ROWS COLUMNS"), `h` the order
to hang up. Nothing is read faster than the other side takes it. Without the agent the terminal stands still and looks
for it for a while; then it hangs up, as a modem did.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

HEAD = struct.Struct(">cI")
MESSAGE_BYTES_MAX = 1 << 17
BUFFER_BYTES = 1 << 16
LONELY_S = 60.0
RETRY_S = 0.25
HANG_UP_S = 2.0
NOT_EXECUTABLE = 126


def attend(path: bytes, key: bytes, execute: Callable[[], None]) -> NoReturn:
    """`execute` becomes the job's program, in a child with the terminal; it returns never, or raises there."""
    master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.close(master)
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for target in range(3):
            os.dup2(slave, target)
        if slave > 2:
            os.close(slave)
        execute()
        os._exit(NOT_EXECUTABLE)
    nothing = os.open("/dev/null", os.O_RDWR)
    for target in range(3):
        os.dup2(nothing, target)
    master = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)
    # Nothing of the supervisor's may stay open here: the lock on its record least of all.
    os.closerange(3, master)
    os.closerange(master + 1, os.sysconf("SC_OPEN_MAX"))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.set_blocking(master, False)
    Relay(path, key, master, pid).run()
    _end_like(pid, master)


class Relay:
    """Moves bytes between the terminal and the agent until the program has ended or the terminal was hung up."""

    def __init__(self, path: bytes, key: bytes, master: int, pid: int) -> None:
        self._path = path
        self._key = key
        self._master = master
        self._program = os.pidfd_open(pid)
        self._agent: socket.socket | None = None
        self._input = b""
        """From the agent: messages that are not complete or not yet written to the terminal."""
        self._typed = b""
        self._output = b""
        self._is_hung_up = False

    def run(self) -> None:
        lonely_since_s = time.monotonic()
        while not self._is_hung_up:
            if self._agent is None:
                self._connect()
            if self._agent is not None:
                lonely_since_s = time.monotonic()
            elif time.monotonic() - lonely_since_s > LONELY_S:
                return
            if not self._move():
                return

    def _move(self) -> bool:
        """Wait until something can go on, and let it. False when the program has ended and all was passed on."""
        reading, writing = [self._program], []
        agent = -1 if self._agent is None else self._agent.fileno()
        if agent >= 0:
            if len(self._output) < BUFFER_BYTES:
                reading.append(self._master)
            if len(self._typed) < BUFFER_BYTES:
                reading.append(agent)
            if self._output:
                writing.append(agent)
        if self._typed:
            writing.append(self._master)
        can_read, can_write, _ = select.select(reading, writing, [], RETRY_S if agent < 0 else None)
        if self._master in can_read:
            self._output += self._read_terminal()
        if agent in can_write:
            self._send()
        if agent in can_read:
            self._receive()
        if self._master in can_write and self._typed:
            with suppress(BlockingIOError, OSError):
                self._typed = self._typed[os.write(self._master, self._typed) :]
        if self._program in can_read:
            self._drain()
            return False
        return True

    def _read_terminal(self) -> bytes:
        try:
            return os.read(self._master, BUFFER_BYTES)
        except OSError:
            return b""  # Nothing there, or nobody has the terminal open any more.

    def _drain(self) -> None:
        """The last words of the program, as far as the agent takes them in time."""
        while data := self._read_terminal():
            self._output += data
        if self._agent is not None:
            self._agent.settimeout(HANG_UP_S)
            with suppress(OSError):
                self._agent.sendall(self._output)
                self._agent.shutdown(socket.SHUT_WR)
                while self._agent.recv(BUFFER_BYTES):  # Until it has all of it.
                    pass

    def _connect(self) -> None:
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            agent.connect(self._path)
            agent.sendall(self._key + b"\n")
        except OSError:
            agent.close()
            return
        agent.setblocking(False)
        self._agent, self._input = agent, b""

    def _send(self) -> None:
        assert self._agent is not None
        try:
            self._output = self._output[self._agent.send(self._output) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lose()

    def _receive(self) -> None:
        assert self._agent is not None
        try:
            data = self._agent.recv(BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._input += data
        while len(self._input) >= HEAD.size:
            kind, length = HEAD.unpack_from(self._input)
            if length > MESSAGE_BYTES_MAX:
                self._lose()
                return
            if len(self._input) < HEAD.size + length:
                return
            content, self._input = self._input[HEAD.size : HEAD.size + length], self._input[HEAD.size + length :]
            self._obey(kind, content)

    def _obey(self, kind: bytes, content: bytes) -> None:
        if kind == b"i":
            self._typed += content
        elif kind == b"w":
            rows, columns = map(int, content.split())
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        elif kind == b"h":
            self._is_hung_up = True

    def _lose(self) -> None:
        if self._agent is not None:
            self._agent.close()
            self._agent = None


def _end_like(pid: int, master: int) -> NoReturn:
    """Hang up, which is nothing to a program that has ended, wait a moment, and end in the same way."""
    os.close(master)
    deadline_s = time.monotonic() + HANG_UP_S
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline_s:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    code = os.waitstatus_to_exitcode(ended[1])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
