"""The guard: ends what is under the lease when the lease is over, whether or not the agent lives.

A small process of its own beside the agent, running only while there is something under the lease. It works on the
records alone: an attempt that nobody has claimed is claimed by it and never starts; of one that runs, the cancel is
written into the record and the supervisor told. Run by path under `python -I -S`; standard library only.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    # Appended last, so that nothing here can hide a module of the standard library.
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from hal_core.agent import hierarchies, lease, suspending
from hal_core.agent.launcher import records

PERIOD_S = 0.25
ENDING_PERIOD_S = 0.1
IDLE_PERIODS = 120
"""With nothing under the lease for so long, it goes; the agent starts another when there is. Without an agent it goes
when all that was under the lease has ended: nothing can come."""
LOCK = "guard.lock"
SCRATCH = "guard.new"


def main(directory: Path) -> None:
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # After an earlier agent's guard, if that still runs.
    guard = Guard(directory)
    agent_pid = os.getppid()
    idle_count = 0
    while idle_count < IDLE_PERIODS and (os.getppid() == agent_pid or not guard.has_nothing_left()):
        is_ending, is_idle = guard.look(lease.boot_time_s())
        idle_count = idle_count + 1 if is_idle else 0
        time.sleep(ENDING_PERIOD_S if is_ending else PERIOD_S)


class Guard:
    """Looks at one state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._claims = os.open(directory / records.CLAIMS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._boot_id = records.boot_id()
        records.clear(self._claims, SCRATCH)
        self._ordered: set[str] = set()

    def look(self, now_s: float) -> tuple[bool, bool]:
        """One round: (whether something is being ended, whether nothing is under the lease)."""
        leased = self._leased()
        terms = lease.read_terms(self._directory, self._boot_id)
        is_ending = False
        for key in leased:
            if terms is not None and now_s >= terms.end_s(self._grace_s(key)):
                is_ending = not self._end(key, terms.grace_left_s(now_s)) or is_ending
        return is_ending, not leased

    def has_nothing_left(self) -> bool:
        """Whether all that is under the lease has ended. What nobody has claimed may yet begin."""
        found = [records.read_named(self._claims, key) for key in self._leased()]
        return all(record is not None and record.end is not None for record in found)

    def _leased(self) -> list[str]:
        return [name for name in os.listdir(self._directory / lease.LEASED) if records.is_key(name)]

    def _grace_s(self, key: str) -> float:
        try:
            return float((self._directory / lease.LEASED / key).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0  # Forgotten a moment ago, or being written.

    def _end(self, key: str, grace_s: float) -> bool:
        """Whether the attempt has ended, or will never begin. Until then it is told again."""
        end = records.End("cancelled", time.time(), "the node lost its daemon before it was launched")
        lines = records.claim_line(self._boot_id) + records.end_line(end)
        claim = records.claim(self._claims, key, lines, SCRATCH)
        if claim is not None:
            os.fsync(claim)
            os.fsync(self._claims)
            os.close(claim)
            return True
        record = records.read_named(self._claims, key)
        if record is None or record.end is not None:
            return True
        if record.supervisor_pid and record.boot_id == self._boot_id:
            self._tell(key, record, grace_s)
        return False

    def _tell(self, key: str, record: records.Record, grace_s: float) -> None:
        """Write the cancel and signal the supervisor. Who stands still goes on, to end in good order."""
        if record.suspend_time_s is not None:
            suspending.resume(self._directory, key, hierarchies.this_machine(self._directory))
        if record.cancel_grace_s is None or (grace_s == 0.0 and record.cancel_grace_s > 0.0):
            claim = os.open(key, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._claims)
            records.append(claim, records.cancel_line(grace_s))
            os.close(claim)
        # If nobody holds it, the spawner sees to what is left.
        records.signal_holder(self._claims, key, record.supervisor_pid, signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
