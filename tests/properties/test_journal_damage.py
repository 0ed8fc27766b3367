"""A disk that lies: a flipped bit or a cut anywhere gives the same state or a refusal that names an event, never less.

Everything in the journal that is damaged here was acknowledged.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from hal_core import errors
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.snapshot import make_snapshot
from hal_core.models.event import encode_event
from tests.support.journal_events import Digest, digest_of, event_at, events_between, in_child, opened, recovered

EVENT_COUNT = 120
FILES = ("journal.sqlite", "journal.sqlite-wal", "mark", "snapshot-40.hal", "snapshot-80.hal")
damage = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with two snapshots, events in the database and events that are only in the log."""
    directory = tmp_path_factory.mktemp("intact") / "state"
    for first in (1, 41):
        with opened(directory) as journal:
            journal.append(events_between(first, first + 39))
        make_snapshot(directory, Digest, Disk())

    def append_singly() -> None:
        journal = Journal.open(directory)
        for sequence in range(81, EVENT_COUNT + 1):
            journal.append(events_between(sequence, sequence))

    assert in_child(append_singly) == 0
    assert all((directory / name).stat().st_size for name in FILES)
    return directory


@pytest.fixture(scope="module")
def closed(intact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same events, all in the database, and no snapshot to stand in for any of them."""
    directory = Path(shutil.copytree(intact, tmp_path_factory.mktemp("closed") / "state"))
    assert outcome(directory) == "same"
    for name in FILES[3:]:
        (directory / name).unlink()
    return directory


def outcome(directory: Path) -> str:
    """`same` or `refused`, if all is well."""
    try:
        found = recovered(directory)
    except errors.JournalDamaged as error:
        names_the_event = 1 <= error.sequence <= EVENT_COUNT + 1 and str(error.sequence) in str(error)
        return "refused" if names_the_event else f"refused without naming the event: {error}"
    return "same" if found == (EVENT_COUNT, digest_of(events_between(1, EVENT_COUNT))) else "silently different"


@damage
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_flipped_bit_is_never_a_silent_difference(intact: Path, name: str, place: float, bit: int) -> None:
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(shutil.copytree(intact, Path(parent) / "state"))
        content = bytearray((directory / name).read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        (directory / name).write_bytes(content)
        found = outcome(directory)
        assert found in ({"same"} if name.startswith("snapshot") else {"same", "refused"})


@damage
@given(st.integers(0, 110) | st.integers(0, 1 << 20), st.integers(0, 7))
@example(18, 0)
@example(19, 1)
def test_a_flipped_bit_in_a_closed_database_is_never_a_silent_difference(closed: Path, place: int, bit: int) -> None:
    """The first bytes are SQLite's header: 18 and 19 say whether there is a log at all, and whether one may write."""
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(shutil.copytree(closed, Path(parent) / "state"))
        content = bytearray((directory / "journal.sqlite").read_bytes())
        content[place % len(content)] ^= 1 << bit
        (directory / "journal.sqlite").write_bytes(content)
        assert outcome(directory) in {"same", "refused"}


@damage
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_never_a_silent_difference(intact: Path, name: str, place: float) -> None:
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(shutil.copytree(intact, Path(parent) / "state"))
        with open(directory / name, "r+b") as file:
            file.truncate(int(place * (directory / name).stat().st_size))
        found = outcome(directory)
        assert found in ({"refused"} if name == "journal.sqlite-wal" else {"same", "refused"})


@damage
@given(st.integers(1, EVENT_COUNT), st.data())
def test_the_full_check_finds_any_changed_event(intact: Path, sequence: int, data: st.DataObject) -> None:
    """Recovery trusts what a snapshot covers; the check does not."""
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(shutil.copytree(intact, Path(parent) / "state"))
        assert outcome(directory) == "same"  # which also moved the log into the database
        body = encode_event(event_at(sequence))[2]
        content = (directory / "journal.sqlite").read_bytes()
        start = content.index(body) + data.draw(st.integers(0, len(body) - 1))
        changed = content[:start] + bytes([content[start] ^ 0x10]) + content[start + 1 :]
        (directory / "journal.sqlite").write_bytes(changed)
        assert check_journal(directory, Disk()).damaged_sequence == sequence


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_never_a_silent_difference(intact: Path, tmp_path: Path, name: str) -> None:
    directory = Path(shutil.copytree(intact, tmp_path / "state"))
    (directory / name).unlink()
    assert outcome(directory) == ("same" if name.startswith("snapshot") else "refused")
