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

from collections import Counter as CountOf
from collections.abc import Sequence
from typing import Final

import attrs
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest

from hal_core import (
    ClusterDefined,
    Event,
    JobEnded,
    JobRequeued,
    JobSubmitted,
    NodeDrained,
    NodeJoined,
    NodeName,
    NodeResumed,
    NodeStatus,
    NodeSuspected,
    NodeWentDown,
    ObserverDisabled,
    Options,
    Planned,
    RunTimesPredicted,
    Standing,
    count_of,
    structure_options,
)
from hal_observer_prometheus.predicting import PredictionScores
from hal_observer_prometheus.tracker import Tracker

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DECIDING: Final = frozenset({Planned, JobRequeued, ObserverDisabled, RunTimesPredicted, JobEnded})
WAIT_BUCKETS_S: Final = (0.01, 0.05, 0.25, 1, 5, 30, 120, 600, 3600, 14400, 86400, 604800)


@attrs.frozen
class PrometheusOptions:
    """No options yet; the class is there so that a mistyped one is refused."""


class PrometheusObserver:
    """Observer with a registry of its own; `render` is what a scrape gets."""

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._status_of: dict[NodeName, NodeStatus] = {}
        self._drained: set[NodeName] = set()
        self._registry = registry = CollectorRegistry()
        self._submitted = Counter("hal_jobs_submitted", "Elements taken in", registry=registry)
        self._started = Counter("hal_jobs_started", "Elements that began to run", registry=registry)
        self._ended = Counter("hal_jobs_ended", "Elements that ended", ["state", "kind"], registry=registry)
        self._jobs = Gauge("hal_jobs", "Elements by phase", ["phase"], registry=registry)
        self._wait = Histogram(
            "hal_job_wait_seconds", "From submission to start", buckets=WAIT_BUCKETS_S, registry=registry
        )
        self._nodes = Gauge("hal_nodes", "Nodes by status", ["status"], registry=registry)
        self._nodes_drained = Gauge("hal_nodes_drained", "Nodes taken out by an operator", registry=registry)
        self._requeued = Counter("hal_jobs_requeued", "Attempts that are made again", registry=registry)
        self._plan_starts = Counter("hal_plan_starts", "Starts that the engine proposed", registry=registry)
        self._plan_refused = Counter("hal_plan_refused", "Starts that did not hold", registry=registry)
        self._promises = Gauge("hal_plan_promises", "Promised starts of the last plan", registry=registry)
        self._scores = PredictionScores()
        self._bands = Counter("hal_predictions", "Elements by predicted band", ["band"], registry=registry)
        self._error = Histogram(
            "hal_prediction_error_seconds", "Predicted median and truth", buckets=WAIT_BUCKETS_S, registry=registry
        )
        self._disabled = Counter("hal_observers_disabled", "Observers that were switched off", registry=registry)
        ProcessCollector(registry=registry)
        self._sequence = Gauge("hal_journal_sequence", "Sequence number of the last event", registry=registry)

    @classmethod
    def from_options(cls, options: Options) -> PrometheusObserver:
        structure_options(PrometheusOptions, options, "prometheus")
        return cls()

    def begin(self, standing: Standing) -> None:
        """Start from what there was: gauges tell of all that exists, not of what came since the daemon's start."""
        self._tracker.begin(standing)
        self._status_of = {name: status for name, status, _ in standing.nodes}
        self._drained = {name for name, _, is_drained in standing.nodes if is_drained}
        self._sequence.set(standing.sequence)

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        for event in events:
            if type(event) in DECIDING:
                self._follow_deciding(event)
            else:
                self._follow_nodes(event)
        self._count(events)
        if events:
            self._sequence.set(first_sequence + len(events) - 1)

    def render(self) -> bytes:
        """All metrics in the Prometheus text format (see CONTENT_TYPE)."""
        tracker = self._tracker
        self._jobs.labels("pending").set(tracker.pending_count)
        self._jobs.labels("staging").set(tracker.staging_count)
        self._jobs.labels("running").set(tracker.running_count)
        counts = CountOf(self._status_of.values())
        for status in NodeStatus:
            self._nodes.labels(status.value).set(counts[status])
        self._nodes_drained.set(len(self._drained))
        return generate_latest(self._registry)

    def _count(self, events: Sequence[Event]) -> None:
        """Once for all: a step of a counter costs the library more than the fold of an event."""
        submitted = started = 0
        ended: CountOf[tuple[str, str]] = CountOf()
        for event in events:
            for wait_s in self._tracker.follow(event):
                started += 1
                self._wait.observe(wait_s)
            match event:
                case JobSubmitted(spec=spec):
                    submitted += count_of(spec.array.indices) if spec.array else 1
                case JobEnded(end=end, elements=elements):
                    ended[end.state.value, end.kind.value] += count_of(elements)
                case _:
                    pass
        self._submitted.inc(submitted)
        self._started.inc(started)
        for labels, count in ended.items():
            self._ended.labels(*labels).inc(count)

    def _follow_deciding(self, event: Event) -> None:
        match event:
            case Planned():
                self._plan_starts.inc(event.start_count)
                self._plan_refused.inc(event.refused_count)
                self._promises.set(len(event.reserves))
            case JobRequeued():
                self._requeued.inc()
            case ObserverDisabled():
                self._disabled.inc()
            case _:
                scored = self._scores.follow(event)
                if scored is not None:
                    self._bands.labels(scored.band).inc()
                    self._error.observe(scored.error_s)

    def _follow_nodes(self, event: Event) -> None:
        match event:
            case ClusterDefined(cluster=cluster):
                known = self._status_of
                self._status_of = {node.name: known.get(node.name, NodeStatus.UNKNOWN) for node in cluster.nodes}
                self._drained &= self._status_of.keys()
            case NodeJoined(node=node):
                self._status_of[node.name] = NodeStatus.UP
            case NodeSuspected(node=name):
                self._status_of[name] = NodeStatus.SUSPECT
            case NodeWentDown(node=name):
                self._status_of[name] = NodeStatus.DOWN
            case NodeDrained(node=name):
                self._drained.add(name)
            case NodeResumed(node=name):
                self._drained.discard(name)
            case _:
                pass
