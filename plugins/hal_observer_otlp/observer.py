"""Sends the spans of jobs by OTLP over HTTP (hal_core/tracing.py).

Where to send is the option `endpoint`, or what OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT, ...).

It reads the log at its own pace, since a trace outlives a daemon: nodes go on telling of a job whose wait a former one
saw. Its place is kept after what it has read is sent. What was sent right before a crash may be sent once more, with
the same ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from hal_core import Event, EventLog, JobSubmitted, Options, SpanSender, Standing, job_of, structure_options
from hal_observer_otlp.spans import JobSpans

READER: Final = "otlp"
BATCH: Final = 500
SPANS_MAX: Final = 1_000
"""Made before they are waited for: the sender's own queue is bounded, and drops what is too much."""
SETTLE_S: Final = 2.0
"""How long what was read may be unsent."""
LEAVE_S: Final = 5.0
"""For what is left when the daemon stops."""


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
    """Observer that turns the log into spans."""

    def __init__(self, sender: SpanSender) -> None:
        self._spans = JobSpans()
        self._sender = sender
        self._after = self._kept = self._unsent = 0

    @classmethod
    def from_options(cls, options: Options) -> OtlpObserver:
        given = structure_options(OtlpOptions, options, "otlp")
        return cls(SpanSender.to(given.endpoint, "hal", given.ratio))

    def begin(self, standing: Standing) -> None:
        """Ids of traces follow from the cluster's name, which a restarted daemon is not told again."""
        self._spans.cluster = standing.cluster

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        """Nothing: it reads the log itself."""

    async def read_log(self, log: EventLog) -> None:
        self._after = self._kept = await log.place(READER)
        settle_s = math.inf
        try:
            while True:
                with trio.move_on_at(settle_s):
                    for sequence, event in await log.read(self._after, BATCH):
                        await self._follow(sequence, event, log)
                    settle_s = min(settle_s, trio.current_time() + SETTLE_S)
                if self._unsent >= SPANS_MAX or trio.current_time() >= settle_s:
                    await self._settle(log)
                    settle_s = math.inf
        except trio.Cancelled:
            with trio.move_on_after(LEAVE_S, shield=True):
                await self._settle(log)
            raise

    async def _follow(self, sequence: int, event: Event, log: EventLog) -> None:
        job_id = job_of(event)
        if isinstance(event, JobSubmitted):
            await self._point([event], log)
        elif job_id is not None and not self._spans.knows(job_id):
            events = await log.history(job_id, sequence - 1)
            await self._point(events, log)
            for earlier in events:
                self._spans.follow(earlier)
        spans = self._spans.follow(event)
        self._sender.send(spans)
        self._unsent += len(spans)
        self._after = sequence

    async def _point(self, events: Sequence[Event], log: EventLog) -> None:
        """So that a job can be linked to those it depends on, whenever they were submitted."""
        for event in events:
            for dependency in event.spec.dependencies if isinstance(event, JobSubmitted) else ():
                found = None if self._spans.knows(dependency.job_id) else await log.arrival(dependency.job_id)
                if found is not None:
                    self._spans.point(found)

    async def _settle(self, log: EventLog) -> None:
        if self._after > self._kept:
            await trio.to_thread.run_sync(self._sender.flush, abandon_on_cancel=True)
            await log.keep(READER, self._after)
            self._kept, self._unsent = self._after, 0

    def close(self) -> None:
        """Send what is left."""
        self._sender.close()
