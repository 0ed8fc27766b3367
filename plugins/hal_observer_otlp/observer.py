"""Sends the spans of jobs by OTLP over HTTP. The exporter works in a thread of its own and drops what it cannot send.

Where to send is the option `endpoint`, or what OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT, ...).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from hal_core import Event, HalError, Options, structure_options
from hal_observer_otlp.spans import JobSpans, Note, Span

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event as SpanEvent, ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
except ImportError as error:
    raise HalError(f"the observer otlp needs more packages ({error.name}): pip install 'hal-core[otlp]'") from None

from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

SAMPLED = TraceFlags(TraceFlags.SAMPLED)


@attrs.frozen
class OtlpOptions:
    """`ratio` is the part of all jobs that is traced, chosen by their ids."""

    endpoint: str | None = None
    """Of the collector, such as http://collector:4318/v1/traces."""
    ratio: float = attrs.field(
        default=1.0, validator=attrs.validators.and_(attrs.validators.ge(0.0), attrs.validators.le(1.0))
    )


class OtlpObserver:
    """Observer that turns events into spans."""

    def __init__(self, exporter: SpanExporter, ratio: float = 1.0) -> None:
        self._spans = JobSpans()
        self._bound = round(ratio * (1 << 64))
        self._processor = BatchSpanProcessor(exporter)
        self._resource = Resource.create({"service.name": "hal"})

    @classmethod
    def from_options(cls, options: Options) -> OtlpObserver:
        given = structure_options(OtlpOptions, options, "otlp")
        return cls(OTLPSpanExporter(endpoint=given.endpoint), given.ratio)

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        for event in events:
            for span in self._spans.follow(event):
                if span.trace_id & ((1 << 64) - 1) < self._bound:
                    self._processor.on_end(self._readable(span))

    def close(self) -> None:
        """Send what is left."""
        self._processor.shutdown()  # type: ignore[no-untyped-call, unused-ignore]

    def _readable(self, span: Span) -> ReadableSpan:
        parent = _context(span.trace_id, span.parent_span_id) if span.parent_span_id else None
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            events=[_event(note) for note in span.notes],
            links=[Link(_context(each.trace_id, each.span_id)) for each in span.links],
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK),
            start_time=_nanoseconds(span.begin_s),
            end_time=_nanoseconds(span.end_s),
        )


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=SAMPLED)


def _event(note: Note) -> SpanEvent:
    return SpanEvent(note.name, note.attributes, _nanoseconds(note.time_s))


def _nanoseconds(time_s: float) -> int:
    return round(time_s * 1e9)
