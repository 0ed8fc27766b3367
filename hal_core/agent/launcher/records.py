"""The record of an attempt: one append-only file per attempt, named by its key. The truth about what happened.

    <directory>/claims/<job>.<index>.<attempt>

Its existence is the claim: it appears once, together with its first line, and is made durable (fsync of the directory)
before anything is executed. Its lines say what followed: `claim`, `run`, `start`, `suspend`, `resume`, `cancel`,
`end`, each with a checksum, so that a torn or damaged line is not believed, and each after a newline of its own, so
that a torn one does not spoil the next. An flock on the file is held by the supervisor for life: whether an attempt is
looked after is a question to the kernel, never a guess by process id. The `end` line is synced before anybody is told.
Files go only when the journal of the daemon has the end.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import zlib
from contextlib import suppress

from .failpoints import reach

CLAIMS = "claims"
SCRIPTS = "scripts"
DETAIL_LENGTH_MAX = 1000
RENAME_NOREPLACE = 1
_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2


class End:
    """How an attempt ended on this node, in plain values."""

    def __init__(self, kind: str, end_time_s: float, detail: str = "") -> None:
        self.kind = kind
        self.end_time_s = end_time_s
        self.detail = detail
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.peak_memory_bytes: int | None = None
        self.cpu_s: float | None = None
        self.node_fault = ""
        """Why this node should get no further work."""


class Record:
    """What the lines of one file say."""

    boot_id = ""
    start_time_s: float | None = None
    supervisor_pid = 0
    """Set by the `run` line, which is written before the first process is started."""
    cancel_grace_s: float | None = None
    suspend_time_s: float | None = None
    stood_still_s = 0.0
    """Since when it stands still (monotonic), and how long it did before."""
    end: list[str] | None = None
    """What `end_line` wrote; the agent reads it (agent/book.py)."""
    is_damaged = False
    """Some line cannot be believed: it was torn by a full disk or a power cut, or changed by a bad disk."""


def claim_line(boot_id: str) -> bytes:
    """The attempt was taken in, under this boot of the machine."""
    return line("claim", boot_id)


def run_line(supervisor_pid: int) -> bytes:
    """From here on the attempt may have run: it is never launched again."""
    return line("run", str(supervisor_pid))


def start_line(start_time_s: float) -> bytes:
    """The job's processes were started."""
    return line("start", repr(start_time_s))


def cancel_line(grace_s: float) -> bytes:
    return line("cancel", repr(grace_s))


def end_line(end: End) -> bytes:
    numbers = map(_optional, (end.exit_code, end.signal, end.peak_memory_bytes, end.cpu_s))
    texts = (end.detail[:DETAIL_LENGTH_MAX], end.node_fault[:DETAIL_LENGTH_MAX])
    return line("end", end.kind, repr(end.end_time_s), *numbers, *texts)


def parse(data: bytes) -> Record:
    """Read the lines that are whole and undamaged; the first end counts."""
    record = Record()
    for line in data.split(b"\n"):
        body = line[9:]
        if len(line) < 10 or line[:8] != b"%08x" % zlib.crc32(body):
            record.is_damaged = record.is_damaged or bool(line)
            continue
        kind, *values = body.decode("ascii").split("\t")
        if kind == "claim":
            record.boot_id = values[0]
        elif kind == "run":
            record.supervisor_pid = int(values[0])
        elif kind == "start":
            record.start_time_s = float(values[0])
        elif kind == "cancel":
            record.cancel_grace_s = float(values[0])
        elif kind == "suspend":
            record.suspend_time_s = float(values[0])
        elif kind == "resume" and record.suspend_time_s is not None:
            record.stood_still_s += float(values[0]) - record.suspend_time_s
            record.suspend_time_s = None
        elif kind == "end" and record.end is None:
            record.end = values
    return record


def append(descriptor: int, line: bytes) -> None:
    """Add a line, whole or with an OSError."""
    if os.write(descriptor, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(descriptor: int) -> Record:
    return parse(os.pread(descriptor, os.fstat(descriptor).st_size, 0))


def read_named(directory: int, key: str) -> Record | None:
    """The record of that attempt; None if there is none."""
    try:
        descriptor = os.open(key, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb", buffering=0) as file:
        return parse(file.read())


def is_key(name: str) -> bool:
    """Whether the name is a key: three numbers, nothing that could be a path."""
    parts = name.split(".")
    return len(parts) == 3 and all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts)


def claim(directory: int, key: str, lines: bytes, scratch: str) -> int | None:
    """Create the record with its first lines, locked and not yet durable. None if the attempt was claimed before.

    `scratch` is a name that nobody else uses at this time. The record is made under it and then renamed: who dies
    half-way leaves no claim without its claim line, of which nobody could tell whether it is of this boot.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(scratch, flags, 0o600, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        append(descriptor, lines)
        reach("records.claim_prepared")
        _rename_to_new(directory, scratch, key)
    except OSError as error:
        os.close(descriptor)
        clear(directory, scratch)
        if isinstance(error, FileExistsError):
            return None
        raise
    return descriptor


def clear(directory: int | None, name: str | bytes) -> None:
    """Remove a file of ours, for instance what somebody left who died in the middle of a claim."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def take_lock(directory: int, key: str) -> int | None:
    """Open a record of which nobody holds the lock, and lock it. None if it is held, or gone."""
    try:
        descriptor = os.open(key, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def signal_holder(directory: int, key: str, pid: int, number: int) -> bool:
    """Signal the supervisor that the record names. False if nobody holds the lock: then the number is anybody's."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        unheld = take_lock(directory, key)
        if unheld is None:
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.close(unheld)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return unheld is None


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _rename_to_new(directory: int, source: str, target: str) -> None:
    """One step; FileExistsError if there is such a file. (renameat2 of Linux; os.rename would replace it.)"""
    if _renameat2(directory, source.encode(), directory, target.encode(), RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def line(*values: str) -> bytes:
    data = b"\t".join(value.encode("unicode_escape") for value in values)
    return b"\n%08x %s\n" % (zlib.crc32(data), data)


def _optional(value: float | None) -> str:
    return "" if value is None else repr(value)
