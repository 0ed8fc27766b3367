"""Traces of random histories: complete, without orphans, and the same that a job finds in its environment."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from hal_core import (
    AttemptKey,
    End,
    EndKind,
    Event,
    HalError,
    JobEnded,
    JobId,
    JobPlaced,
    JobRequeued,
    JobSpec,
    LaunchOrder,
    NodeName,
    Owner,
    PartitionName,
    PartSpans,
    PartStatus,
    Share,
    Span,
    SpanSender,
    launch_span_id,
    members,
    run_span_id,
    trace_of,
)
from hal_core.models.trace import context_text
from hal_core.rules.standing import standing_of
from hal_core.rules.state import State
from hal_core.testing import FakeEventLog
from hal_core.tracing import part_spans
from hal_engine_backfill.easy import Easy
from hal_observer_otlp.observer import OtlpObserver
from hal_observer_otlp.spans import JobSpans
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.stories import make_story, run_simulation

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WITHIN_S = 60.0


def spans_of(seed: int) -> tuple[list[Span], list[Event]]:
    events = run_simulation(make_story(Random(seed)), Easy())
    fold = JobSpans()
    return [span for event in events for span in fold.follow(event)], list(events)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_every_attempt_is_in_its_jobs_trace_and_nothing_is_told_twice(seed: int) -> None:
    spans, events = spans_of(seed)
    roots = {(span.trace_id, span.span_id) for span in spans if span.name.startswith("job ")}
    ids = [(span.trace_id, span.span_id) for span in spans if not span.name.startswith("job ")]
    assert len(ids) == len(set(ids))
    for span in spans:
        assert span.begin_s <= span.end_s
    ended = {span.attributes["hal.job_id"] for span in spans if span.name.startswith("job ")}
    orphans = {
        span.attributes["hal.job_id"]
        for span in spans
        if span.parent_span_id and (span.trace_id, span.parent_span_id) not in roots
    }
    assert not orphans & ended, "a span whose job is over has its root"
    told = {
        tuple(span.attributes[f"hal.{name}"] for name in ("job_id", "index", "attempt"))
        for span in spans
        if span.name == "wait"
    }
    assert told == attempts_that_are_over(events)


def attempts_that_are_over(events: Sequence[Event]) -> set[tuple[object, ...]]:
    """(job, index, attempt) of every placement that was followed by an end or a requeue."""
    placed: set[tuple[object, ...]] = set()
    over: set[tuple[object, ...]] = set()
    for event in events:
        if isinstance(event, JobPlaced):
            placed |= {(event.job_id, index, event.attempt) for index in members(event.elements)}
        elif isinstance(event, JobRequeued):
            over.add(tuple(event.key))
        elif isinstance(event, JobEnded):
            over |= {(event.job_id, index, event.attempt) for index in members(event.elements)}
    return placed & over


def test_a_job_goes_on_with_the_trace_of_who_submitted_it() -> None:
    own = trace_of("c", 7, 1.5, ("PATH=/bin",))
    assert own == trace_of("c", 7, 1.5, ())
    assert own.parent_span_id == 0
    others = (("c", 8, 1.5), ("d", 7, 1.5), ("c", 7, 2.5))
    assert len({own.trace_id, *(trace_of(*words, ()).trace_id for words in others)}) == 4
    further = trace_of("c", 7, 1.5, (f"TRACEPARENT={PARENT}",))
    assert f"{further.trace_id:032x}" == PARENT[3:35]
    assert f"{further.parent_span_id:016x}" == PARENT[36:52]
    assert context_text(further.trace_id, further.parent_span_id) == PARENT


WRONG = ["", "00-0-0-01", "junk", PARENT.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", PARENT + "0"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_context_that_is_none_begins_a_trace(wrong: str) -> None:
    assert trace_of("c", 7, 1.5, (f"TRACEPARENT={wrong}",)) == trace_of("c", 7, 1.5, ())


async def test_a_collector_gets_what_the_fold_tells() -> None:
    spans, events = spans_of(4)
    with OtlpReceiver() as receiver:
        observer = OtlpObserver.from_options({"endpoint": f"{receiver.endpoint}/v1/traces"})
        await read(observer, events)
        observer.close()
        found = {(int.from_bytes(each.trace_id, "big"), int.from_bytes(each.span_id, "big")) for each in receiver.spans}
        assert found == {(span.trace_id, span.span_id) for span in spans}
        assert {each.name for each in receiver.spans} >= {"wait", "launch", "run"}
        assert len([each for each in receiver.spans if each.links]) == sum(bool(span.links) for span in spans)
        assert run_span_id(1, 2, 3, 4) != run_span_id(1, 2, 3, 5)


async def test_a_restarted_daemon_goes_on_with_the_same_ids() -> None:
    """No event tells it the cluster's name again."""
    events = run_simulation(make_story(Random(4)), Easy())
    state = State()
    state.apply(events[0])
    sent: list[ReadableSpan] = []
    observer = OtlpObserver(SpanSender(Collected(sent), "hal"))
    observer.begin(standing_of(state))
    await read(observer, events, after=1)
    observer.close()
    assert {span.context.trace_id for span in sent} == {span.trace_id for span in spans_of(4)[0]}


async def read(observer: OtlpObserver, events: Sequence[Event], after: int = 0) -> FakeEventLog:
    """All of them, and then it is stopped as a daemon stops it."""
    log = FakeEventLog(events)
    log.places["otlp"] = after
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observer.read_log, log)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    return log


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**9), data=st.data())
async def test_wherever_a_daemon_is_restarted_the_spans_are_the_same_and_each_is_told_once(
    seed: int, data: st.DataObject
) -> None:
    events = run_simulation(make_story(Random(seed)), Easy())
    cut = data.draw(st.integers(1, len(events)))
    sent: list[ReadableSpan] = []
    for part_of_it in (events[:cut], events):
        state = State()
        state.apply(events[0])
        observer = OtlpObserver(SpanSender(Collected(sent), "hal"))
        observer.begin(standing_of(state))
        log = await read(observer, part_of_it, 0 if part_of_it is not events else cut)
        assert log.places["otlp"] == len(part_of_it)
        observer.close()
    whole = spans_of(seed)[0]
    assert [identity(span) for span in sent] == [
        (span.trace_id, span.span_id, span.parent_span_id, len(span.links)) for span in whole
    ]


def identity(span: ReadableSpan) -> tuple[int, int, int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id, span.parent.span_id if span.parent else 0, len(span.links)


class Collected(SpanExporter):
    """An exporter into a list."""

    def __init__(self, spans: list[ReadableSpan]) -> None:
        self._spans = spans

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._spans.extend(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


KEY = AttemptKey(JobId(7), 3, 1)
ORDER = LaunchOrder(
    KEY, Owner("ada", 1, 1), JobSpec("x", PartitionName("all")), Share(NodeName("n1"), 1, "0"), (), trace=f"{9:032x}"
)


def part(**fields: Any) -> PartStatus:
    return PartStatus(KEY, **{"start_time_s": 12.0, "end_time_s": 15.0, "end": End(EndKind.EXITED, 3)} | fields)


def test_a_node_tells_once_what_it_saw_of_an_attempt() -> None:
    sent: list[ReadableSpan] = []
    spans = PartSpans(SpanSender(Collected(sent), "hal-agent"), now_s=lambda: 10.0)
    spans.reported("n1", [part()])  # ordered from one before us, whose trace is not known
    spans.ordered("n1", [ORDER])
    spans.reported("n2", [part()])
    spans.reported("n1", [part(end=None), part(), part()])
    spans.close()
    assert [span.name for span in sent] == ["start", "process"]
    started, ran = sent
    assert (started.start_time, started.end_time) == (10 * 10**9, 12 * 10**9)
    assert (ran.start_time, ran.end_time) == (12 * 10**9, 15 * 10**9)
    assert started.parent is not None
    assert started.parent.span_id == launch_span_id(9, *KEY)
    assert ran.parent is not None
    assert ran.parent.span_id == run_span_id(9, *KEY)
    assert ran.attributes is not None
    assert ran.attributes["process.exit.code"] == 3


def test_what_never_ran_has_no_process() -> None:
    lost = part(start_time_s=None, end_time_s=None, end=End(EndKind.LAUNCH_FAILED))
    [span] = part_spans("n1", lost, (9, 10.0))
    assert (span.name, span.error, span.begin_s, span.end_s) == ("start", "launch_failed", 10.0, 10.0)


def test_without_a_collector_nothing_is_made() -> None:
    assert SpanSender.from_environment({}, "hal") is None
    spans = PartSpans(None)
    spans.ordered("n1", [ORDER])
    spans.reported("n1", [part()])
    spans.close()


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(HalError, match="ratio"):
        OtlpObserver.from_options({"ratio": 2.0})
