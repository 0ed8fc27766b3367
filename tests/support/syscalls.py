"""What a program did to files, in the order of its system calls: strace (Debian package) as a recorder of tests.

    for each in traced([sys.executable, "writer.py", directory], environment, log):
        ...  # Create, Write, Truncate, Sync, Rename, Unlink, Execute

Paths are absolute. What is written to pipes and sockets is recorded too: `Write` with a path such as `pipe:[4711]`.
Memory maps are not seen; SQLite's `-shm` file is the only one that HAL has, and it need not survive anything.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.support.needs import need

TRACED = (
    "openat,creat,write,pwrite64,writev,sendto,sendmsg,ftruncate,truncate,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,execve"
)
STRING_BYTES_MAX = 1 << 24

_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")
_RESULT = re.compile(r"\) += (-?\d+|\?)(?:<((?:\\x..)*)>)?[^\"]*$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?')
_DESCRIPTOR = re.compile(r"^(AT_FDCWD|-?\d+)(?:<((?:\\x[0-9a-f]{2})*)(?:<[^>]*>)?>)?")
_UNFINISHED = " <unfinished ...>"


@attrs.frozen
class Create:
    """A new, empty file. Or a directory."""

    pid: int
    path: str
    is_directory: bool = False


@attrs.frozen
class Write:
    """`offset` None: at the end of the file, or not a file at all."""

    pid: int
    path: str
    offset: int | None
    content: bytes


@attrs.frozen
class Truncate:
    pid: int
    path: str
    size: int


@attrs.frozen
class Sync:
    """Of a file's content, or of a directory's names."""

    pid: int
    path: str


@attrs.frozen
class Rename:
    pid: int
    source: str
    target: str


@attrs.frozen
class Unlink:
    pid: int
    path: str


@attrs.frozen
class Execute:
    pid: int
    path: str


Call = Create | Write | Truncate | Sync | Rename | Unlink | Execute


def need_strace() -> None:
    need("" if shutil.which("strace") else "needs strace: apt-get install strace")


def traced(argv: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[Call]:
    """Run a program to its end under strace and return what it did. Its output goes where ours does, or is piped."""
    subprocess.run([*strace(log), *argv], env=environment, stdin=subprocess.DEVNULL, check=True, capture_output=True)
    return calls(log)


@contextmanager
def attached(pid: int, log: Path, *injected: str) -> Iterator[None]:
    """Trace a running program with all its threads, and spoil its calls: `fdatasync:error=EIO:when=3`, for instance."""
    need_strace()
    words = ["strace", "-f", "-y", "-xx", "-s", str(STRING_BYTES_MAX), "-e", "signal=none", "-e", f"trace={TRACED}"]
    words += [word for each in injected for word in ("-e", f"inject={each}")]
    with subprocess.Popen(
        [*words, "-o", str(log), "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert b"attached" in said, said.decode()
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=30)


def strace(log: Path) -> list[str]:
    """The words to put before a command."""
    options = ["-f", "-y", "-xx", "--seccomp-bpf", "-s", str(STRING_BYTES_MAX), "-e", "signal=none"]
    return ["strace", *options, "-e", f"trace={TRACED}", "-o", str(log)]


def calls(log: Path) -> Iterator[Call]:
    """The calls that succeeded, each when it returned."""
    reader = _Reader()
    with open(log, encoding="ascii", errors="replace") as lines:
        for line in lines:
            yield from reader.read(line.rstrip("\n"))


class _Reader:
    """Reads one line after the other. Knows the positions of open files, which strace does not tell."""

    def __init__(self) -> None:
        self._unfinished: dict[int, str] = {}
        self._positions: dict[tuple[int, int], int] = {}
        """By process and descriptor, for files that are not opened for appending."""

    def read(self, line: str) -> Iterator[Call]:
        match = _LINE.match(line)
        if match is None:
            return
        pid = int(match[1])
        if match[2] is not None:
            text = f"{match[2]}({match[3]}"
            if text.endswith(_UNFINISHED):
                self._unfinished[pid] = text.removesuffix(_UNFINISHED)
                return
        else:
            text = self._unfinished.pop(pid, "") + match[5]
        result = _RESULT.search(text)
        if result is None or result[1] == "?" or int(result[1]) < 0:
            return
        name, _, arguments = text[: result.start()].partition("(")
        call = getattr(self, f"_{name}", None)
        if call is not None:
            yield from call(pid, arguments, result)

    def _openat(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        path, flags = _bytes(result[2] or "").decode(), text.rpartition('"')[2]
        if not path.startswith("/"):
            return
        if "O_APPEND" not in flags:
            self._positions[pid, int(result[1])] = 0
        if "O_CREAT" in flags:
            yield Create(pid, path)
        if "O_TRUNC" in flags:
            yield Truncate(pid, path, 0)

    def _write(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        descriptor, path = _descriptor(text)
        content = _string(text)[: int(result[1])]
        position = self._positions.get((pid, descriptor)) if path.startswith("/") else None
        if position is not None:
            self._positions[pid, descriptor] = position + len(content)
        yield Write(pid, path, position, content)

    _sendto = _sendmsg = _write

    def _writev(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        content = b"".join(_bytes(part) for part in _STRING.findall(text))
        yield Write(pid, _descriptor(text)[1], None, content[: int(result[1])])

    def _pwrite64(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        offset = int(text.rpartition(", ")[2])
        yield Write(pid, _descriptor(text)[1], offset, _string(text)[: int(result[1])])

    def _ftruncate(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        yield Truncate(pid, _descriptor(text)[1], int(text.rpartition(", ")[2]))

    def _fsync(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        yield Sync(pid, _descriptor(text)[1])

    _fdatasync = _fsync

    def _rename(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        source, target = (_bytes(part).decode() for part in _STRING.findall(text)[:2])
        yield Rename(pid, source, target)

    def _renameat(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        first = _STRING.search(text)
        assert first is not None, text[:80]
        source, target = (_beside(part) for part in (text[: first.end()], text[first.end() :].lstrip(", ")))
        yield Rename(pid, source, target)

    _renameat2 = _renameat

    def _unlink(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        yield Unlink(pid, _string(text).decode())

    def _unlinkat(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        yield Unlink(pid, _beside(text))

    def _mkdir(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        yield Create(pid, _string(text).decode(), is_directory=True)

    def _execve(self, pid: int, text: str, result: re.Match[str]) -> Iterator[Call]:
        yield Execute(pid, _string(text).decode())


def _descriptor(text: str) -> tuple[int, str]:
    match = _DESCRIPTOR.match(text)
    assert match is not None, text[:80]
    return (-1 if match[1] == "AT_FDCWD" else int(match[1])), _bytes(match[2] or "").decode()


def _beside(text: str) -> str:
    """The path of a directory's descriptor and a name in it."""
    return os.path.join(_descriptor(text)[1], _string(text).decode())


def _string(text: str) -> bytes:
    match = _STRING.search(text)
    assert match is not None, text[:80]
    return _bytes(match[1])


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
