"""The agent's view of the records that the supervisors write (launcher/records.py): read and removed. And the epoch.

The records on disk are the truth. The agent never writes one and keeps no copy that could differ from them.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Sequence
from pathlib import Path

from hal_core.agent.launcher import records
from hal_core.errors import Refused, WireError
from hal_core.failpoints import reach
from hal_core.models.job import End, EndKind, JobId
from hal_core.models.message import PartStatus
from hal_core.models.placement import AttemptKey


class Book:
    """The records below one state directory, which is created as needed."""

    def __init__(self, directory: Path) -> None:
        # Jobs of other users pass through to read their own script: searchable, but not readable.
        modes = {directory: 0o711, directory / records.CLAIMS: 0o700, directory / records.SCRIPTS: 0o711}
        for path, mode in modes.items():
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            path.chmod(mode)
        self.hints = directory / "hints"
        if not self.hints.exists():
            os.mkfifo(self.hints, 0o600)
        if not stat.S_ISFIFO(self.hints.lstat().st_mode):
            raise FileExistsError(f"{self.hints} is not a FIFO; remove it")
        self._claims = os.open(directory / records.CLAIMS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._epoch_path = directory / "epoch"
        self.epoch = _read_epoch(self._epoch_path)

    def insist_on_newest(self, epoch: int) -> None:
        """Raises WireError for a daemon that knows less than this node: its jobs' numbers are given a second time."""
        if epoch < self.epoch:
            raise WireError(
                f"the daemon's epoch is {epoch}; this node has served {self.epoch} already, so that daemon's journal "
                "is new, or an old copy. Bring back the newest one. If it is lost, what this node remembers means "
                f"other jobs: end its jobs, stop the agent and remove {self._epoch_path.parent}"
            )

    def raise_epoch(self, epoch: int) -> None:
        """Keep the newest epoch seen, durably, before anything is done for it."""
        new = self._epoch_path.with_suffix(".new")
        with open(new, "wb") as file:
            file.write(_epoch_line(epoch))
            file.flush()
            os.fsync(file.fileno())
        reach("agent.epoch_written")
        os.replace(new, self._epoch_path)
        directory = os.open(self._epoch_path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        reach("agent.epoch_durable")
        self.epoch = epoch

    def known(self) -> list[AttemptKey]:
        return [_key(name) for name in os.listdir(self._claims) if records.is_key(name)]

    def status(self, key: AttemptKey) -> PartStatus | None:
        """What the record says, also of an attempt that was claimed and may yet begin; None if there is no record."""
        record = records.read_named(self._claims, str(key))
        if record is None:
            return None
        if record.end is not None:
            return PartStatus(key, record.start_time_s, *end_of(record.end))
        return PartStatus(key, record.start_time_s)

    def running(self) -> list[tuple[AttemptKey, int]]:
        """Attempts that have begun and not ended, with the process ids of their supervisors."""
        found = []
        for key in self.known():
            record = records.read_named(self._claims, str(key))
            if record is not None and record.start_time_s is not None and record.end is None:
                found.append((key, record.supervisor_pid))
        return found

    def forget(self, key: AttemptKey) -> bool:
        """Remove the record of an attempt that has ended. False if it has not, and is therefore kept.

        Called in a thread: to remove a file that was synced can take the disk some milliseconds.
        """
        record = records.read_named(self._claims, str(key))
        if record is None:
            return True
        if record.end is None:
            return False
        reach("agent.before_forget")
        os.unlink(str(key), dir_fd=self._claims)
        reach("agent.after_forget")
        return True


def _epoch_line(epoch: int) -> bytes:
    number = b"%d" % epoch
    return b"%s %08x\n" % (number, zlib.crc32(number))


def _read_epoch(path: Path) -> int:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    number = content.split(b" ")[0]
    if not number.isdigit() or content != _epoch_line(int(number)):
        raise Refused(f"{path} is damaged; remove it once only one daemon gives orders to this node")
    return int(number)


def _key(name: str) -> AttemptKey:
    job_id, index, attempt = name.split(".")
    return AttemptKey(JobId(int(job_id)), int(index), int(attempt))


def end_of(values: Sequence[str]) -> tuple[float, End, str]:
    """When, how, and what is wrong with the node: the values of an `end` line (records.end_line)."""
    kind, time_s, exit_code, signal, peak, cpu, detail, *node_fault = values  # The last is not in older records.
    end = End(
        EndKind(kind),
        exit_code=int(exit_code) if exit_code else None,
        signal=int(signal) if signal else None,
        peak_memory_bytes=int(peak) if peak else None,
        cpu_s=float(cpu) if cpu else None,
        detail=_text(detail),
    )
    return float(time_s), end, _text("".join(node_fault))


def _text(escaped: str) -> str:
    return escaped.encode().decode("unicode_escape")


def hinted_keys(data: bytes) -> set[AttemptKey]:
    """What was read from the pipe of hints."""
    return set(map(_key, data.decode().split()))
