"""All about one job is found in a real journal: nothing else, nothing left out, and nothing that was changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from hal_core.errors import JournalDamaged
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_format import DATABASE_NAME
from hal_core.kernel.receipt_rows import read_rows
from hal_core.models.event import ClusterDefined, Event, JobHeld, JobReleased, JobSubmitted, Planned, RunTimesPredicted
from hal_core.models.history import HistoryFilters
from hal_core.models.job import JobId
from hal_core.models.prediction import Prediction
from hal_core.rules.receipt import ReceiptFold
from hal_core.rules.receipt_sums import SumFilters, summed
from tests.support.core_world import make_cluster
from tests.support.journal_events import EPOCH_TIME_S, job_events

JOB_COUNT = 300


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal.open(tmp_path)) as opened:
        opened.append([ClusterDefined(EPOCH_TIME_S, make_cluster())])
        opened.append([event for number in range(1, JOB_COUNT + 1) for event in job_events(number)])
        yield opened


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize("number", [1, 7, 127, 128, 255, 256, JOB_COUNT])
def test_a_job_has_its_cluster_and_its_own_events(journal: Journal, number: int) -> None:
    found = journal.events_of(JobId(number))
    assert found[1:] == job_events(number)
    assert isinstance(found[0], ClusterDefined)
    assert journal.events_of(JobId(number), is_over=True) == found


def test_a_job_that_was_never_there_has_none(journal: Journal) -> None:
    assert journal.events_of(JobId(JOB_COUNT + 1)) == []


def test_the_promise_of_a_start_belongs_to_the_job_that_was_promised_it(journal: Journal) -> None:
    submitted, *later = job_events(JOB_COUNT + 1)
    plans = [Planned(submitted.time_s, "hal", 1, 1, 0, 0, ((JobId(number), 1.0),)) for number in (JOB_COUNT, 3)]
    mine = Planned(submitted.time_s, "hal", 2, 1, 0, 0, ((JobId(5), 1.0), (JobId(JOB_COUNT + 1), 2.0)))
    journal.append([submitted, *plans, mine, *later])
    assert journal.events_of(JobId(JOB_COUNT + 1))[2] == mine
    assert kinds(journal.events_of(JobId(JOB_COUNT), is_over=True)).count("Planned") == 0


def test_a_clock_that_was_set_back_hides_nothing(journal: Journal) -> None:
    back_s = 1e6
    early = [attrs.evolve(event, time_s=event.time_s - back_s) for event in job_events(JOB_COUNT + 1)]
    journal.append(early)
    journal.append(job_events(JOB_COUNT + 2))
    assert journal.events_of(JobId(JOB_COUNT + 1))[1:] == early
    assert journal.events_of(JobId(40))[1:] == job_events(40)


def test_of_each_end_it_is_known_what_was_said_of_it_by_its_start(journal: Journal) -> None:
    numbers = JOB_COUNT + 1, JOB_COUNT + 2, JOB_COUNT + 3
    (early, *early_ran), (late, *late_ran), (silent, *silent_ran) = map(job_events, numbers)
    first, again, after = (Prediction(1.0, at, 9.0) for at in (2.0, 3.0, 4.0))

    def said(of: Event, offset_s: float, number: int, prediction: Prediction) -> RunTimesPredicted:
        return RunTimesPredicted(of.time_s + offset_s, "ml", ((JobId(1), first), (JobId(number), prediction)))

    journal.append([early, said(early, 0.0, numbers[0], first), said(early, 0.1, numbers[0], again), *early_ran])
    journal.append([said(early, 0.5, numbers[0], after), late, *late_ran[:2], said(late, 0.3, numbers[1], after)])
    journal.append([silent, *silent_ran, *late_ran[2:]])
    ends = journal.history(HistoryFilters(), 4).entries
    assert [end.job_id for end in ends] == [*reversed(numbers), JOB_COUNT]
    found = journal.predictions_of(ends)
    assert {end.job_id: found[end.sequence] for end in ends if end.sequence in found} == {
        numbers[0]: again,
        numbers[1]: after,  # it started before anything was said
    }
    assert journal.predictions_of(()) == {}


def test_an_event_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    with closing(Journal.open(tmp_path)) as journal:
        submitted, *later = job_events(1)
        journal.append([submitted, JobHeld(submitted.time_s, JobId(1), "ada"), *later])
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        connection.execute("UPDATE events SET body = replace(body, 'ada', 'bob') WHERE sequence = 2")
        connection.execute("UPDATE events SET body = CAST(body AS BLOB)")
        connection.commit()
    with closing(Journal.open(tmp_path)) as journal, pytest.raises(JournalDamaged):
        journal.events_of(JobId(1))


def test_a_receipt_of_a_simple_job() -> None:
    submitted, placed, started, ended = job_events(8)
    assert isinstance(submitted, JobSubmitted)
    at_s, job_id = submitted.time_s, submitted.job_id
    fold = ReceiptFold(submitted, {submitted.spec.partition: (0.5, 0.0)})
    held = [JobHeld(at_s, job_id, "ada"), JobReleased(at_s + 0.0625, job_id, "ada")]
    for event in [*held, placed, started, ended]:
        fold.apply(event)
    receipt = fold.receipt(at_s + 100.0)
    assert [wait.cause for wait in receipt.waits] == ["held", "priority", "launch"]
    assert receipt.waits[0].seconds == 0.0625
    assert receipt.wait_s == started.start_time_s - submitted.time_s  # type: ignore[union-attr]
    assert receipt.core_s == 4 * (ended.time_s - placed.time_s)
    assert receipt.money == round(0.5 * receipt.core_s / 3600, 6)
    assert receipt.right_size is not None
    assert (receipt.right_size.cpu_count, receipt.right_size.walltime_s) == (2, 60.0)


def test_sums_come_from_a_process_that_reads_the_journal(journal: Journal, tmp_path: Path) -> None:
    rows = read_rows(tmp_path, journal.sequence)
    by_user = summed(rows, SumFilters())
    assert [each.user for each in by_user] == [f"user{number}" for number in range(5)]
    assert sum(each.job_count for each in by_user) == JOB_COUNT
    (of_one,) = summed(rows, SumFilters(("month",), user="user3", account="physics"))
    assert (of_one.month, of_one.user, of_one.job_count) == ("2023-11", "", JOB_COUNT // 5)
