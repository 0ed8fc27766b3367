"""The metrics. Every label has a handful of values: no job, user or node name ever becomes a label.

hal_jobs_submitted_total          elements taken in (an array of ten counts ten)
hal_jobs_started_total            elements that began to run
hal_jobs_ended_total{state,kind}  elements that reached a final state, by state and by reason
hal_jobs{phase}                   elements pending, staging, running
hal_job_wait_seconds              from submission, begin time or requeue to the start
hal_nodes{status}                 nodes unknown, up, suspect, down
hal_nodes_drained                 nodes that an operator took out
hal_jobs_requeued_total           attempts that are made again
hal_plan_starts_total             starts that the engine proposed
hal_plan_refused_total            of those, what did not hold when it was looked at
hal_plan_promises                 promised starts of the last plan
hal_predictions_total{band}       elements that ran below, within or above the predicted middle eight of ten
hal_prediction_error_seconds      how far the predicted median was off
hal_observers_disabled_total      observers that were switched off
hal_journal_sequence              the last event seen

Beside them those of the process itself: process_cpu_seconds_total, process_resident_memory_bytes and others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from hal_core import (
    ClusterDefined,
    Event,
    JobEnded,
    JobPlaced,
    JobRequeued,
    JobSubmitted,
    NodeDrained,
    NodeJoined,
    NodeResumed,
    NodeStatus,
    NodeSuspected,
    NodeWentDown,
    ObserverDisabled,
    Options,
    PartStarted,
    Planned,
    RunTimesPredicted,
    Standing,
    structure_options,
)
from hal_observer_prometheus.bins import Bins
from hal_observer_prometheus.nodes import NodeCounts
from hal_observer_prometheus.predicting import BANDS, PredictionScores
from hal_observer_prometheus.tracker import Tracker

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@attrs.frozen
class PrometheusOptions:
    """No options yet; the class is there so that a mistyped one is refused."""


class PrometheusObserver:
    """Observer that counts in plain integers, and makes metrics of them only when it is scraped.

    `render` is what a scrape gets. A step of one of the library's own counters costs more than the fold of an event.
    """

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._nodes = NodeCounts()
        self._scores = PredictionScores()
        self._sequence = 0
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._promise_count = 0
        self._ended: Counter[tuple[str, str]] = Counter()
        self._bands: Counter[str] = Counter()
        self._waits, self._errors = Bins(), Bins()
        self._follow: Mapping[type, Callable[[Any], object]] = {
            JobSubmitted: self._submitted,
            JobPlaced: self._tracker.placed,
            PartStarted: self._started,
            JobRequeued: self._requeued,
            JobEnded: self._has_ended,
            Planned: self._planned,
            RunTimesPredicted: self._scores.predicted,
            ObserverDisabled: self._disabled,
            ClusterDefined: self._nodes.defined,
            NodeJoined: self._nodes.joined,
            NodeSuspected: self._nodes.suspected,
            NodeWentDown: self._nodes.went_down,
            NodeDrained: self._nodes.drained,
            NodeResumed: self._nodes.resumed,
        }
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    @classmethod
    def from_options(cls, options: Options) -> PrometheusObserver:
        structure_options(PrometheusOptions, options, "prometheus")
        return cls()

    def begin(self, standing: Standing) -> None:
        """Start from what there was: gauges tell of all that exists, not of what came since the daemon's start."""
        self._tracker.begin(standing)
        self._nodes.begin(standing)
        self._sequence = standing.sequence

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        find = self._follow.get
        for event in events:
            follow = find(type(event))
            if follow is not None:
                follow(event)
        self._sequence = first_sequence + len(events) - 1

    def render(self) -> bytes:
        """All metrics in the Prometheus text format (see CONTENT_TYPE)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """The library's way to ask for metrics."""
        for name, about in COUNTERS.items():
            yield CounterMetricFamily(name, about, self._counts[name])
        ended = CounterMetricFamily("hal_jobs_ended", "Elements that ended", labels=["state", "kind"])
        for labels, count in self._ended.items():
            ended.add_metric(labels, count)
        yield ended
        bands = CounterMetricFamily("hal_predictions", "Elements by predicted band", labels=["band"])
        for band in BANDS:
            bands.add_metric([band], self._bands[band])
        yield bands
        tracker, by_status = self._tracker, self._nodes.by_status()
        phases = (
            ("pending", tracker.pending_count),
            ("staging", tracker.staging_count),
            ("running", tracker.running_count),
        )
        yield _labelled_gauge("hal_jobs", "Elements by phase", "phase", phases)
        statuses = [(status.value, by_status.get(status, 0)) for status in NodeStatus]
        yield _labelled_gauge("hal_nodes", "Nodes by status", "status", statuses)
        yield GaugeMetricFamily("hal_nodes_drained", "Nodes taken out by an operator", self._nodes.drained_count)
        yield GaugeMetricFamily("hal_plan_promises", "Promised starts of the last plan", self._promise_count)
        yield GaugeMetricFamily("hal_journal_sequence", "Sequence number of the last event", self._sequence)
        yield self._waits.family("hal_job_wait_seconds", "From submission to start")
        yield self._errors.family("hal_prediction_error_seconds", "Predicted median and truth")

    def _submitted(self, event: JobSubmitted) -> None:
        self._counts["hal_jobs_submitted"] += self._tracker.submitted(event)

    def _started(self, event: PartStarted) -> None:
        wait_s = self._tracker.started(event)
        if wait_s is not None:
            self._counts["hal_jobs_started"] += 1
            self._waits.add(wait_s)

    def _requeued(self, event: JobRequeued) -> None:
        self._tracker.requeued(event)
        self._counts["hal_jobs_requeued"] += 1

    def _has_ended(self, event: JobEnded) -> None:
        end = event.end
        self._ended[end.state.value, end.kind.value] += self._tracker.ended(event)
        scored = self._scores.ended(event)
        if scored is not None:
            self._bands[scored.band] += 1
            self._errors.add(scored.error_s)

    def _planned(self, event: Planned) -> None:
        self._counts["hal_plan_starts"] += event.start_count
        self._counts["hal_plan_refused"] += event.refused_count
        self._promise_count = len(event.reserves)

    def _disabled(self, _event: ObserverDisabled) -> None:
        self._counts["hal_observers_disabled"] += 1


COUNTERS: Final[Mapping[str, str]] = {
    "hal_jobs_submitted": "Elements taken in",
    "hal_jobs_started": "Elements that began to run",
    "hal_jobs_requeued": "Attempts that are made again",
    "hal_plan_starts": "Starts that the engine proposed",
    "hal_plan_refused": "Starts that did not hold",
    "hal_observers_disabled": "Observers that were switched off",
}
"""The counters without labels."""


def _labelled_gauge(name: str, about: str, label: str, values: Iterable[tuple[str, int]]) -> Metric:
    gauge = GaugeMetricFamily(name, about, labels=[label])
    for value, count in values:
        gauge.add_metric([value], count)
    return gauge
