"""Whatever events come, in whatever batches: what is read back is what was appended, and the chain holds."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings, strategies as st

from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.journal_recovery import rebuild
from hal_core.kernel.snapshot import make_snapshot
from hal_core.models.event import Event
from hal_core.models.history import HistoryFilters
from tests.support.journal_events import Digest, any_event, digest_of, events_between, opened

slow = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(st.lists(st.lists(any_event(), max_size=3), max_size=4), st.sets(st.integers(0, 3)))
def test_batches_read_back_equal_and_survive_reopening(batches: list[list[Event]], reopened: set[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "state"
        written: list[Event] = []
        epochs = []
        for number, batch in enumerate(batches):
            with opened(directory) as journal:
                epochs.append(journal.epoch)
                written += batch
                assert journal.append(batch) == len(written)
                assert journal.read(0, 1000) == list(enumerate(written, 1))
            if number in reopened and written:
                make_snapshot(directory, Digest, Disk())
        assert epochs == sorted(set(epochs))
        with opened(directory) as journal:
            assert list(journal.recover(False).events) == written
            assert rebuild(journal.recover, Digest)[0].value == digest_of(written)
            assert check_journal(directory, Disk()).problems == ()


@slow
@given(st.integers(1, 60), st.integers(1, 7), st.booleans(), st.sampled_from([None, "user1", "user4"]))
def test_pages_of_history_hold_each_end_once(
    job_count: int, limit: int, is_oldest_first: bool, user: str | None
) -> None:
    filters = HistoryFilters(user=user, is_oldest_first=is_oldest_first)
    with tempfile.TemporaryDirectory() as name, opened(Path(name) / "state") as journal:
        journal.append(events_between(1, job_count * 4))
        found: list[int] = []
        cursor = None
        while True:
            page = journal.history(filters, limit, cursor)
            found += [entry.job_id for entry in page.entries]
            cursor = page.next_cursor
            if cursor is None:
                break
        expected = [number for number in range(1, job_count + 1) if user in (None, f"user{number % 5}")]
        assert found == (expected if is_oldest_first else expected[::-1])


@slow
@given(st.integers(0, 30), st.integers(0, 40), st.integers(-5, 40))
def test_read_gives_exactly_what_was_asked_for(event_count: int, after: int, limit: int) -> None:
    with tempfile.TemporaryDirectory() as name, opened(Path(name) / "state") as journal:
        events = events_between(1, event_count)
        journal.append(events)
        assert journal.read(after, limit) == list(enumerate(events, 1))[after : after + max(limit, 0)]
