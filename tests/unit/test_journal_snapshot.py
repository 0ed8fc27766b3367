"""Snapshots: shortcuts that may be missing, damaged, old or foreign, and never change the outcome."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hal_core import errors
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk, FileLock
from hal_core.kernel.journal_reader import JournalReader
from hal_core.kernel.journal_recovery import rebuild
from hal_core.kernel.snapshot import make_snapshot
from hal_core.kernel.snapshot_files import Snapshot, write_snapshot
from hal_core.rules.state import State
from tests.support.journal_events import Digest, digest_of, events_between, opened


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Thirty events, snapshots at 10 and 20."""
    directory = tmp_path / "state"
    for first in (1, 11, 21):
        with opened(directory) as journal:
            journal.append(events_between(first, first + 9))
        if first < 21:
            assert make_snapshot(directory, Digest, Disk()) == first + 9
    return directory


def check_recovery(directory: Path, snapshot_sequence: int, warning: str = "") -> None:
    with opened(directory) as journal:
        recovery = journal.recover()
        assert recovery.snapshot_sequence == snapshot_sequence
        assert len(list(recovery.events)) == 30 - snapshot_sequence
        state, warnings = rebuild(journal.recover, Digest)
        assert state.value == digest_of(events_between(1, 30))
        assert warning in " ".join(warnings)
        assert bool(warnings) == bool(warning)


def test_recovery_begins_at_the_newest(directory: Path) -> None:
    check_recovery(directory, 20)


def test_only_two_are_kept(directory: Path) -> None:
    assert make_snapshot(directory, Digest, Disk()) == 30
    assert make_snapshot(directory, Digest, Disk()) == 30
    assert sorted(path.name for path in directory.glob("snapshot-*")) == ["snapshot-20.hal", "snapshot-30.hal"]
    check_recovery(directory, 30)


def test_a_damaged_one_falls_back_to_the_older_then_to_all_events(directory: Path) -> None:
    (directory / "snapshot-20.hal").write_bytes(b"")
    check_recovery(directory, 10, "snapshot-20.hal is damaged in its header")
    content = (directory / "snapshot-10.hal").read_bytes()
    (directory / "snapshot-10.hal").write_bytes(content[:-1] + b"?")
    check_recovery(directory, 0, "snapshot-10.hal is damaged, so it was passed over")
    assert len(check_journal(directory, Disk()).problems) == 2


def test_a_renamed_or_unreadable_one_is_passed_over(directory: Path) -> None:
    (directory / "snapshot-10.hal").rename(directory / "snapshot-25.hal")
    check_recovery(directory, 20, "snapshot-25.hal is damaged")
    (directory / "snapshot-25.hal").unlink()
    (directory / "snapshot-25.hal").mkdir()
    check_recovery(directory, 20, "snapshot-25.hal cannot be read")


def test_one_of_another_journal_is_passed_over(directory: Path) -> None:
    for sequence in (25, 999):
        write_snapshot(directory, Disk(), Snapshot(sequence, b"x" * 32, b"y" * 32))
    assert not (directory / "snapshot-20.hal").exists()
    check_recovery(directory, 0, "snapshot-999.hal does not belong to this journal")
    assert len(check_journal(directory, Disk()).problems) == 2


def test_one_that_this_version_cannot_load_costs_only_time(directory: Path) -> None:
    reader = JournalReader(directory)
    chain_hash = reader.last()[1]
    reader.close()
    write_snapshot(directory, Disk(), Snapshot(30, chain_hash, b"from another version"))
    with opened(directory) as journal:
        state, warnings = rebuild(journal.recover, Digest)
        assert state.value == digest_of(events_between(1, 30))
        assert "snapshot-30.hal cannot be loaded (not a digest)" in warnings[0]


def test_it_works_beside_a_running_daemon_up_to_the_mark(directory: Path) -> None:
    with opened(directory) as journal:
        journal.append(events_between(31, 35))
        assert make_snapshot(directory, Digest, Disk()) == 35
        journal.append(events_between(36, 36))
        assert journal.recover().snapshot_sequence == 35


def test_two_at_a_time_are_refused(directory: Path) -> None:
    lock = FileLock(directory / "snapshot.lock", "")
    with pytest.raises(errors.Unavailable, match=f"pid {os.getpid()}"):
        make_snapshot(directory, Digest, Disk())
    lock.release()


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "hal_core.kernel.snapshot", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_process_says_what_went_wrong(tmp_path: Path) -> None:
    assert run_process().returncode == 2
    missing = run_process(str(tmp_path / "nowhere"))
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    empty = run_process(str(tmp_path))
    assert empty.returncode == 1
    assert "no journal" in empty.stderr


def test_the_process_folds_the_real_state(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    with opened(directory) as journal:
        journal.append([event for number in range(1, 6) for event in events_between(4 * number - 3, 4 * number - 3)])
        done = run_process(str(directory))
        assert (done.returncode, done.stderr) == (0, "")
        assert journal.recover().snapshot_sequence == 5
        state, warnings = rebuild(journal.recover, State)
        whole = State()
        for event in journal.recover(False).events:
            whole.apply(event)
        assert (state.dump(), warnings) == (whole.dump(), ())
