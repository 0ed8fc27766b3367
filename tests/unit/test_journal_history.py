"""The history of ended jobs: what is in an entry, what can be asked, and what a user cannot do with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hal_core import errors
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.journal_history import SELECT_HISTORY
from hal_core.kernel.journal_reader import JournalReader
from hal_core.models.event import JobEnded, JobPlaced, JobRequeued, JobSubmitted
from hal_core.models.history import HistoryEntry, HistoryFilters
from hal_core.models.job import ArraySpec, End, EndKind, JobId, JobSpec, JobState, Owner
from hal_core.models.node import NodeName, PartitionName
from hal_core.models.placement import AttemptKey, Share
from tests.support.journal_events import EPOCH_TIME_S, events_between, opened

ALL = HistoryFilters()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with opened(tmp_path / "state") as journal:
        yield journal


def job_ids(journal: Journal, filters: HistoryFilters) -> list[int]:
    return [entry.job_id for entry in journal.history(filters, 100).entries]


def share(node: str) -> Share:
    return Share(NodeName(node), 1, "0")


def test_an_entry_tells_everything(journal: Journal) -> None:
    journal.append(events_between(1, 4))
    assert journal.history(ALL, 10).entries == (
        HistoryEntry(
            sequence=4,
            job_id=JobId(1),
            elements="0",
            attempt=1,
            user="user1",
            name="name1",
            partition="part1",
            account="physics",
            state=JobState.FAILED,
            kind=EndKind.EXITED,
            exit_code=1,
            signal=None,
            ended_by="",
            detail="",
            submit_time_s=EPOCH_TIME_S + 1,
            start_time_s=EPOCH_TIME_S + 1.2,
            end_time_s=EPOCH_TIME_S + 1.4,
            nodes=("n1",),
            node_count=1,
            cpus=4,
            walltime_s=60.0,
            peak_memory_bytes=4096,
            cpu_s=0.25,
            ran_s=pytest.approx(0.2),
        ),
    )


def test_what_an_element_stood_still_it_did_not_run(journal: Journal) -> None:
    job_id, end = JobId(9), End(EndKind.EXITED, exit_code=0)
    spec = JobSpec("many", PartitionName("p"), command=("x",), array=ArraySpec(((0, 3),)))
    journal.append(
        [
            JobSubmitted(5.0, job_id, "c", Owner("ada", 1, 1), spec),
            JobEnded(60.0, job_id, ((0, 1),), 1, end, 10.0, 60.0, suspended_s=20.0),
            JobEnded(61.0, job_id, ((1, 2),), 1, end, 10.0, 10.5, suspended_s=0.6),
            JobEnded(62.0, job_id, ((2, 3),), 1, End(EndKind.CANCELLED), None, 62.0),
        ]
    )
    entries = journal.history(HistoryFilters(job_id=job_id, is_oldest_first=True), 10).entries
    assert [entry.ran_s for entry in entries] == [0.0, 30.0, None], "two clocks may differ by more than it ran"


def test_element_0_of_an_array_is_not_taken_for_a_job(journal: Journal) -> None:
    job_id, owner, end = JobId(9), Owner("ada", 1, 1), End(EndKind.EXITED, exit_code=0)
    spec = JobSpec("many", PartitionName("p"), command=("x",), array=ArraySpec(((0, 2),)))
    journal.append(events_between(1, 4))
    journal.append([JobSubmitted(1.0, job_id, "c", owner, spec), JobEnded(4.0, job_id, ((0, 1),), 1, end, 2.0, 3.0)])
    by_job = {entry.job_id: (entry.elements, entry.is_array) for entry in journal.history(ALL, 10).entries}
    assert by_job == {1: ("0", False), 9: ("0", True)}


def test_array_elements_find_the_nodes_of_their_own_attempt(journal: Journal) -> None:
    job_id, owner = JobId(9), Owner("ada", 1, 1)
    spec = JobSpec("many", PartitionName("p"), command=("x",), array=ArraySpec(((0, 1_000_000),)))
    done, killed = End(EndKind.EXITED, exit_code=0), End(EndKind.CANCELLED, by="root", detail="too slow")
    journal.append([JobSubmitted(1.0, job_id, "c", owner, spec)])
    journal.append(
        [
            JobPlaced(2.0, job_id, 1, ((0, 2), (5, 6)), (share("a"),)),
            JobPlaced(2.0, job_id, 1, ((2, 5),), (share("b"), share("c"))),
            JobRequeued(3.0, AttemptKey(job_id, 5, 1), "ada", killed),
            JobPlaced(4.0, job_id, 2, ((5, 6),), (share("d"),)),
            JobEnded(5.0, job_id, ((1, 2),), 1, done, 2.0, 5.0),
            JobEnded(6.0, job_id, ((3, 4),), 1, done, 2.0, 6.0),
            JobEnded(7.0, job_id, ((5, 6),), 2, done, 4.0, 7.0),
            JobEnded(8.0, job_id, ((6, 999_999),), 1, killed, None, 8.0),
        ]
    )
    entries = journal.history(HistoryFilters(job_id=job_id, is_oldest_first=True), 10).entries
    assert [(entry.elements, entry.attempt, entry.nodes) for entry in entries] == [
        ("1", 1, ("a",)),
        ("3", 1, ("b", "c")),
        ("5", 2, ("d",)),
        ("6-999998", 1, ()),
    ]
    assert (entries[3].state, entries[3].ended_by, entries[3].detail) == (JobState.CANCELLED, "root", "too slow")
    assert entries[3].start_time_s is None


def test_filters_narrow_and_combine(journal: Journal) -> None:
    journal.append(events_between(1, 80))
    assert job_ids(journal, HistoryFilters(user="user2")) == [17, 12, 7, 2]
    assert job_ids(journal, HistoryFilters(name="name3")) == [17, 10, 3]
    assert job_ids(journal, HistoryFilters(partition=PartitionName("part0"), user="user2")) == [12, 2]
    assert job_ids(journal, HistoryFilters(states=(JobState.COMPLETED,))) == [18, 15, 12, 9, 6, 3]
    assert job_ids(journal, HistoryFilters(states=(JobState.TIMEOUT, JobState.CANCELLED))) == []
    assert job_ids(journal, HistoryFilters(job_id=JobId(11))) == [11]
    assert job_ids(journal, HistoryFilters(since_s=EPOCH_TIME_S + 18)) == [20, 19, 18]
    assert job_ids(journal, HistoryFilters(until_s=EPOCH_TIME_S + 3, is_oldest_first=True)) == [1, 2]


@pytest.mark.parametrize("text", ["' OR 1=1 --", '"', "user1'; DROP TABLE events; --", "%", "\0", "用户"])
def test_what_a_user_gives_is_only_ever_a_value(journal: Journal, text: str) -> None:
    journal.append(events_between(1, 8))
    for filters in (HistoryFilters(user=text), HistoryFilters(name=text), HistoryFilters(partition=text)):
        assert journal.history(filters, 10).entries == ()
    assert journal.sequence == len(journal.read(0, 100)) == 8


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30])
def test_a_wrong_limit_is_named(journal: Journal, limit: int) -> None:
    with pytest.raises(errors.InvalidInput, match=f"limit: {limit} is not between 1 and 1000"):
        journal.history(ALL, limit)


@pytest.mark.parametrize("cursor", [0, -1, 3, 10**30])
def test_a_cursor_that_was_never_given_is_refused(journal: Journal, cursor: int) -> None:
    journal.append(events_between(1, 8))
    with pytest.raises(errors.InvalidInput, match=f"cursor: {cursor} was never given out"):
        journal.history(ALL, 10, cursor)


def test_a_cursor_survives_what_ends_meanwhile(journal: Journal) -> None:
    journal.append(events_between(1, 40))
    first = journal.history(ALL, 4)
    journal.append(events_between(41, 60))
    second = journal.history(ALL, 100, first.next_cursor)
    assert [entry.job_id for entry in (*first.entries, *second.entries)] == list(range(10, 0, -1))
    assert second.next_cursor is None


def test_no_query_sorts(journal: Journal, tmp_path: Path) -> None:
    """Every order comes from an index, so that a page costs the same in a large history."""
    assert journal.sequence == 0
    reader = JournalReader(tmp_path / "state")
    for index, condition in (("end", "1"), ("job", "h.job_id = 1"), ("user", "h.user = 'x'")):
        statement = SELECT_HISTORY.format(index=f"history_by_{index}", conditions=condition, order="DESC")
        with reader.connection() as connection:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", {"limit": 5})]
        assert not [step for step in plan if "TEMP B-TREE" in step]
    reader.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE jobs SET user = 'mallory' WHERE job_id = 3",
        "UPDATE history SET exit_code = 0 WHERE sequence = 8",
        "UPDATE history SET attempt = 1.5 WHERE sequence = 8",
        "DELETE FROM placements WHERE job_id = 2",
        (
            "INSERT INTO history "
            "SELECT 9, job_id, 0, elements, 7, state, kind, 0, 0, '', '', 1.0, 2.0, 0, 0, '', '', '' "
            "FROM history WHERE sequence = 4"
        ),
    ],
)
def test_a_changed_history_is_told_and_can_be_rebuilt(tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "state"
    with opened(directory) as journal:
        journal.append(events_between(1, 40))
        intact = journal.history(ALL, 100)
    assert check_journal(directory, Disk()).problems == ()
    with closing(sqlite3.connect(directory / "journal.sqlite")) as connection:
        connection.execute(damage)
        connection.commit()
    (problem,) = check_journal(directory, Disk()).problems
    assert "the history must be rebuilt" in problem
    with opened(directory) as journal:
        journal.rebuild_history()
        assert journal.history(ALL, 100) == intact
    assert check_journal(directory, Disk()).problems == ()
