"""Receipts of random histories: what a job waited by cause adds up to its wait, and all to the journal, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from random import Random
from typing import Any

import attrs
from hypothesis import example, given, settings, strategies as st

from hal_core.kernel.job_events import is_about
from hal_core.models.event import (
    Event,
    InputsStaged,
    JobEnded,
    JobPlaced,
    JobRequeued,
    JobSubmitted,
    PartStarted,
)
from hal_core.models.job import JobId, JobState
from hal_core.models.receipt import Receipt
from hal_core.planes import Engine
from hal_core.rules.receipt import ReceiptFold
from hal_core.rules.receipt_gates import gates_of, is_singleton, parents_of
from hal_core.rules.receipt_sums import ReceiptSums, SumFilters, summed
from hal_core.rules.state import State
from hal_core.rules.waiting import Waiting
from hal_core.testing import FakeEngine
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.fcfs import Fcfs
from tests.support.stories import make_story, run_simulation

PRICE_PER_CPU_HOUR = 0.36
UNTOLD = {
    *("limit", "licence", "reservation", "preemption", "node_unavailable", "resources", "priority"),
}
"""Reasons that a receipt tells as `priority` or `resources`."""


def history(seed: int, engine: type[Engine]) -> list[Event]:
    story = make_story(Random(seed))
    (partition,) = story.cluster.partitions
    priced = attrs.evolve(partition, money_per_cpu_hour=PRICE_PER_CPU_HOUR, money_per_gpu_hour=2.0)
    return run_simulation(attrs.evolve(story, cluster=attrs.evolve(story.cluster, partitions=(priced,))), engine())


def about(events: Sequence[Event], job_id: JobId) -> list[Event]:
    return [event for event in events if is_about(event, job_id)]


def fold_of(events: Sequence[Event], submitted: JobSubmitted, until: int | None = None) -> ReceiptFold:
    """Its receipt from the whole history, applied up to the event number `until`."""
    rivals: list[JobId] = []
    if is_singleton(submitted.spec):
        rivals = [
            each.job_id
            for each in jobs_of(events)
            if each.job_id < submitted.job_id and (each.owner, each.spec.name) == (submitted.owner, submitted.spec.name)
        ]
    others = {job_id: about(events, job_id) for job_id in {*parents_of(submitted.spec), *rivals}}
    fold = ReceiptFold(submitted, {}, gates_of(submitted, about(events, submitted.job_id), others, rivals))
    for event in events[:until]:
        if is_about(event, submitted.job_id) and not isinstance(event, JobSubmitted):
            fold.apply(event)
    return fold


def jobs_of(events: Sequence[Event]) -> list[JobSubmitted]:
    return [event for event in events if isinstance(event, JobSubmitted)]


def receipts_of(events: Sequence[Event]) -> dict[JobId, Receipt]:
    end_s = events[-1].time_s
    return {each.job_id: fold_of(events, each).receipt(end_s) for each in jobs_of(events)}


class Plain:
    """The same amounts the plain way: element by element, in fractions, from the events alone."""

    def __init__(self, events: Sequence[Event], submitted: JobSubmitted) -> None:
        self.waited, self.ran, self.core = Fraction(0), Fraction(0), Fraction(0)
        array, own = submitted.spec.array, about(events, submitted.job_id)
        for start, stop in array.indices if array else ((0, 1),):
            for index in range(start, stop):
                self._element(index, [event for event in own if covers(event, index)], submitted.time_s)

    def _element(self, index: int, events: Sequence[Event], since_s: float) -> None:
        placed: JobPlaced | None = None
        ready_s, start_s, has_ended = 0.0, None, False
        for event in events:
            match event:
                case JobPlaced():
                    placed, ready_s, start_s = event, event.time_s, None
                case InputsStaged():
                    ready_s = event.time_s
                case PartStarted() if start_s is None:
                    start_s = max(event.start_time_s, ready_s)
                case JobRequeued() if has_ended:
                    since_s, has_ended = event.time_s, False
                case JobRequeued() | JobEnded():
                    has_ended = isinstance(event, JobEnded)
                    over_s = event.end_time_s if isinstance(event, JobEnded) and placed else event.time_s
                    if isinstance(event, JobEnded) and event.start_time_s is not None and start_s is None:
                        start_s = max(event.start_time_s, ready_s)
                    self.waited += Fraction(over_s if start_s is None else start_s) - Fraction(since_s)
                    self.ran += 0 if start_s is None else max(Fraction(over_s) - Fraction(start_s), Fraction(0))
                    if placed is not None:
                        self.core += cpus_of(placed) * (Fraction(event.time_s) - Fraction(placed.time_s))
                    since_s, placed, start_s = event.time_s, None, None
                case _:
                    pass


def covers(event: Any, index: int) -> bool:
    if hasattr(event, "key"):
        return bool(event.key.index == index)
    elements = getattr(event, "elements", ())
    return any(start <= index < stop for start, stop in elements)


def cpus_of(placed: JobPlaced) -> int:
    """Of one of the elements, which have equal parts."""
    count = sum(stop - start for start, stop in placed.elements)
    texts = [part for share in placed.shares for part in share.cpus.split(",") if part]
    bounds = [part.partition("-") for part in texts]
    return sum(int(high or low) - int(low) + 1 for low, _, high in bounds) // count


ENGINES = st.sampled_from([FakeEngine, Fcfs, Easy])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), engine=ENGINES)
def test_waits_add_up_and_all_agrees_with_the_journal(seed: int, engine: type[Engine]) -> None:
    events = history(seed, engine)
    for submitted in jobs_of(events):
        receipt = fold_of(events, submitted).receipt(events[-1].time_s)
        assert sum(Fraction(wait.seconds) for wait in receipt.waits) == Fraction(receipt.wait_s)
        if receipt.end_time_s is None:
            continue
        plain = Plain(events, submitted)
        assert Fraction(receipt.wait_s) == plain.waited
        assert Fraction(receipt.ran_s) == plain.ran
        assert Fraction(receipt.core_s) == plain.core


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), engine=ENGINES)
def test_sums_are_those_of_the_receipts(seed: int, engine: type[Engine]) -> None:
    events = history(seed, engine)
    book = ReceiptSums({event.key.job_id for event in events if isinstance(event, JobRequeued)})
    for event in events:
        book.apply(event)
    ended = [receipt for receipt in receipts_of(events).values() if receipt.end_time_s is not None]
    for by in ("user", "account", "month", "day"):
        sums = summed(book.rows(), SumFilters((by,)))
        assert sum(each.job_count for each in sums) == len(ended)
        for name in ("wait_s", "ran_s", "lost_s", "core_s", "gpu_s"):
            whole = sum(Fraction(getattr(receipt, name)) for receipt in ended)
            assert sum(Fraction(getattr(each, name)) for each in sums) == whole, name
        for name in ("energy_j", "cpu_energy_j"):
            told = sum(round(1000 * (getattr(receipt, name) or 0)) for receipt in ended)
            assert sum(round(1000 * getattr(each, name)) for each in sums) == told, name
        assert round(sum(each.money for each in sums), 6) == round(sum(receipt.money for receipt in ended), 6)
    assert not summed(book.rows(), SumFilters(user="nobody"))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), engine=ENGINES)
@example(seed=39916800, engine=FakeEngine).via("a job that was to end well had failed, and was queued again")
def test_causes_are_the_reasons_that_were_given(seed: int, engine: type[Engine]) -> None:
    """Between two events nothing changes but the time: what a receipt counts there is what the queue told."""
    events = history(seed, engine)
    state, random = State(), Random(seed)
    for number, event in enumerate(events[:-1]):
        state.apply(event)
        now_s, next_s = event.time_s, events[number + 1].time_s
        if next_s <= now_s or random.random() < 0.5:
            continue
        middle_s = (now_s + next_s) / 2
        waiting = Waiting(state, middle_s)
        for submitted in jobs_of(events[: number + 1]):
            record = state.find(submitted.job_id)
            reason = None if record is None else waiting.reason(record)
            if record is None or reason is None or not record.pending_count:
                continue
            fold = fold_of(events, submitted, number + 1)
            before, after = waits(fold, now_s), waits(fold, middle_s)
            grown = {cause for cause, ticks in after.items() if ticks > before.get(cause, 0)} - {"staging", "launch"}
            told = {"priority", "resources"} if reason.kind in UNTOLD else {reason.kind}
            if record.spec.begin_time_s > now_s:
                told |= {"begin_time"}
            assert grown
            assert grown <= told, (submitted.job_id, reason)


def waits(fold: ReceiptFold, now_s: float) -> dict[str, int]:
    return fold.totals_at(now_s).waits


def test_the_histories_are_worth_adding_up() -> None:
    seen: dict[str, float] = {}
    for seed in range(40):
        for receipt in receipts_of(history(seed, Easy)).values():
            for wait in receipt.waits:
                seen[wait.cause] = seen.get(wait.cause, 0.0) + wait.seconds
            for name in ("lost_s", "money", "gpu_s"):
                seen[name] = seen.get(name, 0.0) + getattr(receipt, name)
            seen["unfinished"] = seen.get("unfinished", 0.0) + (receipt.state not in FINAL_STATES)
    causes = {"held", "begin_time", "dependency", "throttle", "priority", "resources", "staging", "launch"}
    assert {name for name, amount in seen.items() if amount > 0} >= causes | {"lost_s", "money", "gpu_s"}


FINAL_STATES = {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.TIMEOUT}
