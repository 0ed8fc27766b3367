"""The outside checker: compares the client's log, the ledger of the jobs, the journal and the process table.

It believes nobody in particular. Each sentence that it returns is a broken promise.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import attrs

from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.journal_reader import JournalReader
from hal_core.models.event import Event, JobCancelRequested, JobEnded, JobPlaced, JobRequeued, JobSubmitted
from hal_core.models.job import EndKind
from tests.campaigns.crash_load import ELEMENTS
from tests.support.processes import Member, command_line

SERVICES = ("launcher/__main__.py", "keeper.py", "/hal ", "hal_core")
"""What may be running when no job is."""

PAGE = 5000
EXPECTED = {EndKind.EXITED, EndKind.CANCELLED, EndKind.SUPERVISOR_LOST}
"""How jobs of this load may end: the script itself exits with 0."""


@attrs.define
class Story:
    """What the journal tells of one job."""

    client_id: str
    ends: list[tuple[int, JobEnded]] = attrs.Factory(list)
    placed: dict[tuple[int, int], tuple[str, ...]] = attrs.Factory(dict)
    """Nodes by element and attempt."""
    requeues: Counter[int] = attrs.Factory(Counter)
    has_cancel: bool = False


@attrs.define
class Checked:
    """The figures, and what is wrong."""

    acknowledged: int = 0
    ends: Counter[str] = attrs.Factory(Counter)
    attempts_run: int = 0
    event_count: int = 0
    problems: list[str] = attrs.Factory(list)


def check(state: Path, ledger: Path, log: list[list[str]]) -> Checked:
    """After everything was drained; HAL may still run."""
    found = Checked()
    report = check_journal(state, Disk())
    found.event_count = report.event_count
    found.problems += report.problems
    stories = dict(read_stories(state))
    begun, ended = read_ledger(ledger)
    found.attempts_run = len(begun)
    found.problems += list(check_acknowledged(log, stories, found))
    for job_id, story in stories.items():
        found.problems += list(check_job(job_id, story, begun, ended))
        found.ends.update(event.end.kind.value for _, event in story.ends)
    found.problems += [f"{key} ran {count} times" for key, count in begun.items() if count > 1]
    found.problems += [f"{key} ended {count} times" for key, count in ended.items() if count > 1]
    known = {(job_id, attempt) for job_id, story in stories.items() for _, attempt in story.placed}
    ran = {(int(key.split(".")[0]), int(key.split(".")[2])) for key in begun}
    found.problems += [f"job {job_id} attempt {attempt} ran and was never placed" for job_id, attempt in ran - known]
    return found


def read_stories(state: Path) -> Iterator[tuple[int, Story]]:
    stories: dict[int, Story] = {}
    reader = JournalReader(state)
    after = 0
    try:
        while page := reader.read(after, PAGE):
            after = page[-1][0]
            for sequence, event in page:
                _tell(stories, sequence, event)
    finally:
        reader.close()
    yield from stories.items()


def _tell(stories: dict[int, Story], sequence: int, event: Event) -> None:
    match event:
        case JobSubmitted():
            assert event.job_id not in stories, f"event {sequence}: job {event.job_id} was submitted twice"
            stories[event.job_id] = Story(event.client_id)
        case JobPlaced():
            for start, stop in event.elements:
                for index in range(start, stop):
                    nodes = tuple(share.node for share in event.shares)
                    stories[event.job_id].placed[index, event.attempt] = nodes
        case JobRequeued():
            stories[event.key.job_id].requeues[event.key.index] += 1
        case JobCancelRequested(does_requeue=False):
            stories[event.job_id].has_cancel = True
        case JobEnded():
            stories[event.job_id].ends.append((sequence, event))


def read_ledger(ledger: Path) -> tuple[Counter[str], Counter[str]]:
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for line in ledger.read_text().splitlines() if ledger.exists() else ():
        word, key = line.split()
        words[word][key] += 1
    return words["begin"], words["end"]


def check_acknowledged(log: list[list[str]], stories: dict[int, Story], found: Checked) -> Iterator[str]:
    of_client: dict[str, int] = {}
    for word, client_id, kind, *rest in log:
        if word == "send":
            continue
        job_id = int(rest[0])
        if word == "submitted":
            if of_client.setdefault(client_id, job_id) != job_id:
                yield f"{client_id} was answered with job {of_client[client_id]} and with job {job_id}"
            story = stories.get(job_id)
            if story is None or story.client_id != client_id:
                yield f"LOST: job {job_id} of {client_id} was acknowledged and is not in the journal"
                continue
            elements = {index for _, end in story.ends for start, stop in end.elements for index in range(start, stop)}
            if elements != set(range(ELEMENTS.get(kind, 1))):
                yield f"job {job_id} ({kind}) ended with the elements {sorted(elements)} only"
    found.acknowledged = len(of_client)
    submitted = Counter(story.client_id for story in stories.values())
    yield from (f"{client_id} was taken in {count} times" for client_id, count in submitted.items() if count > 1)


def check_job(job_id: int, story: Story, begun: Counter[str], ended: Counter[str]) -> Iterator[str]:
    ends = [(i, end.attempt) for _, end in story.ends for start, stop in end.elements for i in range(start, stop)]
    yield from (f"job {job_id}.{i} attempt {a} ended {n} times" for (i, a), n in Counter(ends).items() if n > 1)
    for index, count in Counter(index for index, _ in ends).items():
        if count > 1 + story.requeues[index]:  # What has ended may be queued again, by a client that was late.
            yield f"job {job_id}.{index} ended {count} times and was queued again {story.requeues[index]} times"
    for _, event in story.ends:
        if event.end.kind not in EXPECTED or (event.end.kind is EndKind.EXITED and event.end.exit_code != 0):
            yield f"job {job_id} attempt {event.attempt} ended as {event.end}"
        if story.has_cancel and event.end.kind is not EndKind.CANCELLED and len(story.ends) == 1:
            yield f"job {job_id} was being cancelled and ended as {event.end.kind.value}"
        for start, stop in event.elements:
            for index in range(start, stop):
                for node in story.placed.get((index, event.attempt), ()):
                    key = f"{job_id}.{index}.{event.attempt}.{node}"
                    if event.end.kind is EndKind.EXITED and not (begun[key] == ended[key] == 1):
                        yield f"{key} is completed, but its ledger says begin {begun[key]}, end {ended[key]}"


def check_processes(members: list[Member], claims: list[Path]) -> Iterator[str]:
    """After the drain there is nothing of a job: no process, no record."""
    for member in members:
        words = command_line(member.pid)
        if words and not any(name in " ".join(words) for name in SERVICES):
            yield f"ORPHAN: {member.pid} {words}"
    for directory in claims:
        for name in os.listdir(directory):
            yield f"the record {directory}/{name} is left: {(directory / name).read_bytes()!r}"
