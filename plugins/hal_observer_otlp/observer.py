"""Sends the spans of jobs by OTLP over HTTP (hal_core/tracing.py).

Where to send is the option `endpoint`, or what OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT, ...).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from hal_core import Event, Options, SpanSender, Standing, structure_options
from hal_observer_otlp.spans import JobSpans


@attrs.frozen
class OtlpOptions:
    """`ratio` is the part of all jobs that is traced, chosen by their ids; None: as OTEL_TRACES_SAMPLER_ARG says."""

    endpoint: str | None = None
    """Of the collector, such as http://collector:4318/v1/traces."""
    ratio: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.and_(attrs.validators.ge(0.0), attrs.validators.le(1.0))),
    )


class OtlpObserver:
    """Observer that turns events into spans."""

    def __init__(self, sender: SpanSender) -> None:
        self._spans = JobSpans()
        self._sender = sender

    @classmethod
    def from_options(cls, options: Options) -> OtlpObserver:
        given = structure_options(OtlpOptions, options, "otlp")
        return cls(SpanSender.to(given.endpoint, "hal", given.ratio))

    def begin(self, standing: Standing) -> None:
        """Ids of traces follow from the cluster's name, which a restarted daemon is not told again."""
        self._spans.cluster = standing.cluster

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        for event in events:
            self._sender.send(self._spans.follow(event))

    def close(self) -> None:
        """Send what is left."""
        self._sender.close()
