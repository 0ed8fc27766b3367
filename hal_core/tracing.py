"""Spans of OpenTelemetry and the way to send them, for every process of HAL that traces: daemon, agents and sessions.

Where to send is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, ...). Without them nothing of it is
imported, and nothing is done. Spans are made by hand, when they are over, because their ids follow from the job
(models/trace.py). A thread sends them and drops what it cannot send: a collector that is not there costs spans, never
jobs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from hal_core.errors import HalError
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import JobState
from hal_core.models.message import PartStatus
from hal_core.models.placement import AttemptKey
from hal_core.models.trace import Trace, does_anybody_listen, launch_span_id, run_span_id, span_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

logger = logging.getLogger("hal.traces")

ORDERS_MAX: Final = 100_000
"""Attempts of which a node remembers the trace; those that never tell their end are forgotten, the oldest first."""

TraceValue = str | int | float | bool


class Note(NamedTuple):
    """Something that happened within a span."""

    name: str
    time_s: float
    attributes: dict[str, TraceValue]


class Span(NamedTuple):
    """A span that is over."""

    name: str
    trace_id: int
    span_id: int
    parent_span_id: int
    begin_s: float
    end_s: float
    attributes: dict[str, TraceValue]
    error: str = ""
    notes: tuple[Note, ...] = ()
    links: tuple[Trace, ...] = ()


class SpanSender:
    """Sends spans by OTLP. `ratio` is the part of all traces that is sent, chosen by their ids, alike everywhere."""

    def __init__(self, exporter: SpanExporter, service: str, ratio: float = 1.0) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._bound = round(ratio * (1 << 64))
        self._processor = BatchSpanProcessor(exporter)
        self._resource = Resource.create({"service.name": service})

    @classmethod
    def to(cls, endpoint: str | None, service: str, ratio: float | None = None) -> SpanSender:
        """None: as OpenTelemetry's variables say. Raises HalError if its packages are not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise HalError(f"traces need more packages ({error.name}): pip install 'hal-core[otlp]'") from None
        return cls(OTLPSpanExporter(endpoint=endpoint), service, _ratio(os.environ) if ratio is None else ratio)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], service: str) -> SpanSender | None:
        """None if nobody said where to send, or it cannot be done, which is logged."""
        if not does_anybody_listen(environment):
            return None
        try:
            return cls.to(None, service)
        except HalError as error:
            logger.warning("%s", error)
            return None

    def send(self, spans: Iterable[Span]) -> None:
        for span in spans:
            if span.trace_id & ((1 << 64) - 1) < self._bound:
                self._processor.on_end(self._readable(span))

    def flush(self) -> None:
        """Send what there is now, in the calling thread. What the collector does not take is dropped."""
        self._processor.force_flush()

    def close(self) -> None:
        """Send what is left. Waits for the collector, for some seconds at most."""
        self._processor.shutdown()  # type: ignore[no-untyped-call, unused-ignore]

    def _readable(self, span: Span) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode

        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=_context(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
            resource=self._resource,
            attributes=span.attributes,
            events=[_event(note) for note in span.notes],
            links=[Link(_context(each.trace_id, each.span_id)) for each in span.links],
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK),
            start_time=_nanoseconds(span.begin_s),
            end_time=_nanoseconds(span.end_s),
        )


class PartSpans:
    """What the node's side sees of attempts, by its own clock: `start` from the order to the first process, below the
    daemon's `launch`, and `process` to the exit, below its `run`.

    Of an attempt that a former process of ours was told of, the trace is not known, and there are none.
    """

    def __init__(self, sender: SpanSender | None, now_s: Callable[[], float] = time.time) -> None:
        """`sender` None: nobody listens."""
        self._sender = sender
        self._now_s = now_s
        self._ordered: dict[tuple[str, AttemptKey], tuple[int, float]] = {}

    def ordered(self, node: str, orders: Iterable[LaunchOrder]) -> None:
        if self._sender is None:
            return
        for order in orders:
            if order.trace:
                self._ordered.setdefault((node, order.key), (int(order.trace, 16), self._now_s()))
        while len(self._ordered) > ORDERS_MAX:
            del self._ordered[next(iter(self._ordered))]

    def reported(self, node: str, statuses: Iterable[PartStatus], **attributes: TraceValue) -> None:
        """What the daemon is told: those that have ended become spans, once."""
        if self._sender is None:
            return
        for status in statuses:
            found = None if status.end is None else self._ordered.pop((node, status.key), None)
            if found is not None:
                self._sender.send(part_spans(node, status, found, attributes))

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()


def part_spans(
    node: str, status: PartStatus, ordered: tuple[int, float], attributes: Mapping[str, TraceValue] = {}
) -> list[Span]:
    """The spans of a part that has ended. `ordered` are the id of its trace and when its order came."""
    (trace_id, order_s), key, end = ordered, status.key, status.end
    assert end is not None, f"{key} has not ended"
    known: dict[str, TraceValue] = {"hal.job_id": key.job_id, "hal.index": key.index, "hal.attempt": key.attempt}
    known |= {"hal.nodes": node, **attributes}
    error = "" if end.state is JobState.COMPLETED else end.kind.value
    end_s = max(status.end_time_s or order_s, order_s)
    start_s = status.start_time_s
    start_id = span_id_of(trace_id, "start", *key, node)
    first_s, fault = (end_s, error) if start_s is None else (max(start_s, order_s), "")
    spans = [Span("start", trace_id, start_id, launch_span_id(trace_id, *key), order_s, first_s, known, fault)]
    if start_s is not None:
        told = {name: value for name, value in _exit(status).items() if value is not None}
        process_id = span_id_of(trace_id, "process", *key, node)
        parent_id = run_span_id(trace_id, *key)
        spans.append(
            Span("process", trace_id, process_id, parent_id, start_s, max(end_s, start_s), known | told, error)
        )
    return spans


def _exit(status: PartStatus) -> dict[str, TraceValue | None]:
    end = status.end
    assert end is not None
    return {
        "process.exit.code": end.exit_code,
        "hal.signal": end.signal,
        "hal.cpu_s": end.cpu_s,
        "hal.peak_memory_bytes": end.peak_memory_bytes,
    }


def _ratio(environment: Mapping[str, str]) -> float:
    """As OpenTelemetry's samplers of that kind take it, so that all processes send the same traces."""
    if "traceidratio" not in environment.get("OTEL_TRACES_SAMPLER", ""):
        return 1.0
    try:
        return min(1.0, max(0.0, float(environment.get("OTEL_TRACES_SAMPLER_ARG", "1"))))
    except ValueError:
        return 1.0


def _context(trace_id: int, span_id: int) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _event(note: Note) -> Event:
    from opentelemetry.sdk.trace import Event

    return Event(note.name, note.attributes, _nanoseconds(note.time_s))


def _nanoseconds(time_s: float) -> int:
    return round(time_s * 1e9)
