"""A second, naive reading of the events: it knows only what they say, and objects to any that cannot follow.

It holds the promises that a state cannot show at one moment: exactly one end, no start before the dependencies allow,
no new work on a node that is not up, devices never held twice.
"""

from __future__ import annotations

from collections import Counter

import attrs

from hal_core.models.event import (
    ClusterDefined,
    Event,
    JobCancelRequested,
    JobEnded,
    JobHeld,
    JobPlaced,
    JobReleased,
    JobRequeued,
    JobResumed,
    JobResumeRequested,
    JobSubmitted,
    JobSuspended,
    NodeDrained,
    NodeJoined,
    NodeResumed,
    NodeSuspected,
    NodeWentDown,
    OrphanFound,
    PartEnded,
    PartStarted,
    VariantChosen,
)
from hal_core.models.job import Dependency, DependencyKind, JobId, JobSpec, JobState, Owner
from hal_core.models.node import Cluster, NodeName
from hal_core.models.placement import AttemptKey, Share
from hal_core.models.ranges import count_of, members, parse_ranges


@attrs.define
class Element:
    """One element of a job: pending, active or ended."""

    phase: str = "pending"
    attempt: int = 1
    state: JobState | None = None
    shares: tuple[Share, ...] = ()
    has_started: bool = False
    is_asked_to_end: bool = False
    is_suspended: bool = False
    is_aside: bool = False
    """A person suspended it and has not said that it is to go on."""
    is_met: bool = False
    """Its dependencies were satisfied once; then they stay so."""
    is_peer_met: bool = False
    """The same of those on the element of the same number (aftercorr) alone."""
    parts_started: set[NodeName] = attrs.Factory(set)
    parts_ended: set[NodeName] = attrs.Factory(set)


@attrs.define
class Job:
    owner: Owner
    spec: JobSpec
    is_held: bool
    elements: dict[int, Element]
    is_met: bool = False
    """Its dependencies on whole jobs were satisfied once, all of them together; then they stay so."""

    def phases(self) -> Counter[str]:
        return Counter(element.phase for element in self.elements.values())

    @property
    def has_aside(self) -> bool:
        """A person suspended some of it."""
        return any(element.is_aside and element.phase == "active" for element in self.elements.values())

    @property
    def is_finished(self) -> bool:
        return set(self.phases()) == {"ended"}


class Witness:
    """Give it every event, in order."""

    def __init__(self) -> None:
        self.is_clock_set = False
        """Somebody sets the clock meanwhile, also back."""
        self.jobs: dict[JobId, Job] = {}
        self.cluster = Cluster("", (), ())
        self.is_up: dict[NodeName, bool] = {}
        self.is_drained: dict[NodeName, bool] = {}
        self.orphans: dict[NodeName, set[AttemptKey]] = {}
        self.time_s = 0.0
        self._unmet: set[JobId] = set()
        """Jobs with elements whose dependencies were never satisfied: the only ones to look at again."""

    def see(self, event: Event) -> None:
        assert event.time_s >= self.time_s or self.is_clock_set, "time runs backwards"
        self.time_s = event.time_s
        match event:
            case ClusterDefined(cluster=cluster):
                self.cluster = cluster
                for node in cluster.nodes:
                    self.is_up.setdefault(node.name, False)
                    self.is_drained.setdefault(node.name, False)
            case JobSubmitted(job_id=job_id, owner=owner, spec=spec):
                assert job_id == len(self.jobs) + 1, "ids are given in order"
                indices = spec.array.indices if spec.array else ((0, 1),)
                elements = {index: Element() for index in members(indices)}
                self.jobs[job_id] = Job(owner, spec, spec.is_held, elements)
                self._unmet.add(job_id)
            case JobHeld(job_id=job_id) | JobReleased(job_id=job_id):
                assert not self.jobs[job_id].is_finished
                self.jobs[job_id].is_held = isinstance(event, JobHeld)
            case NodeJoined(node=node):
                self.is_up[node.name] = True
            case NodeSuspected(node=name) | NodeWentDown(node=name):
                self.is_up[name] = False
            case NodeDrained(node=name) | NodeResumed(node=name):
                self.is_drained[name] = isinstance(event, NodeDrained)
            case OrphanFound(node=name, key=key, is_ended=is_ended):
                orphans = self.orphans.setdefault(name, set())
                (orphans.discard if is_ended else orphans.add)(key)
            case VariantChosen(job_id=job_id, number=number, variant=variant):
                job = self.jobs[job_id]
                assert set(job.phases()) == {"pending"}, "amounts are changed of what runs"
                assert job.spec.variants[number] == variant
                job.spec = job.spec.in_variant(number)
            case JobPlaced():
                self._placed(event)
            case PartStarted(key=key, node=node):
                element = self._active(key)
                assert node not in element.parts_started | element.parts_ended, f"{key} started twice on {node}"
                element.parts_started.add(node)
                element.has_started = True
            case PartEnded(key=key, node=node):
                element = self._active(key)
                assert node not in element.parts_ended, f"{key} ended twice on {node}"
                element.parts_ended.add(node)
            case JobCancelRequested(job_id=job_id, elements=elements, does_requeue=does_requeue):
                phases = {self.jobs[job_id].elements[index].phase for index in members(elements)}
                assert phases == {"active"}
                for index in members(elements):
                    self.jobs[job_id].elements[index].is_asked_to_end = not does_requeue
            case JobSuspended(job_id=job_id, elements=elements) | JobResumed(job_id=job_id, elements=elements):
                for index in members(elements):
                    element = self.jobs[job_id].elements[index]
                    assert element.phase == "active"
                    assert element.has_started, f"{job_id}.{index} stands still before it has begun"
                    is_by_person = isinstance(event, JobSuspended) and event.suspended_for is None
                    assert element.is_suspended == isinstance(event, JobResumed) or is_by_person
                    assert not element.is_aside, f"{job_id}.{index} stands still until a person says otherwise"
                    element.is_suspended = isinstance(event, JobSuspended)
                    element.is_aside = is_by_person
            case JobResumeRequested(job_id=job_id, elements=elements):
                for index in members(elements):
                    assert self.jobs[job_id].elements[index].is_aside
                    self.jobs[job_id].elements[index].is_aside = False
            case JobEnded():
                self._ended(event)
            case JobRequeued(key=key):
                element = self._element(key)
                assert element.phase != "pending", f"{key} requeued, but it waits"
                assert element.attempt == key.attempt
                self.jobs[key.job_id].elements[key.index] = Element(attempt=key.attempt + 1, is_met=element.is_met)
            case _:
                pass
        self._note_dependencies()

    def _element(self, key: AttemptKey) -> Element:
        return self.jobs[key.job_id].elements[key.index]

    def _active(self, key: AttemptKey) -> Element:
        element = self._element(key)
        assert element.phase == "active", f"{key}: an event about it while {element.phase}"
        assert element.attempt == key.attempt
        return element

    # -- starts --------------------------------------------------------------------------------------------------------

    def _placed(self, event: JobPlaced) -> None:
        job = self.jobs[event.job_id]
        spec, shape = job.spec, job.spec.shape()
        count = count_of(event.elements)
        assert not job.is_held, "a held job was started"
        assert spec.begin_time_s <= event.time_s, "started before its begin time"
        shapes = [part for part in shape.parts for _ in range(part.node_count)]
        assert len(event.shares) == len(shapes), "not a whole gang"
        assert len({share.node for share in event.shares}) == len(shapes)
        assert count == 1 or len(shapes) == 1
        first = 0
        for part in spec.parts:
            its = event.shares[first : first + part.node_count]
            assert sum(share.task_count for share in its) == part.task_count
            first += part.node_count
        partition = next(each for each in self.cluster.partitions if each.name == spec.partition)
        for share, shape in zip(event.shares, shapes, strict=True):
            assert self.is_up[share.node], f"{share.node} is not up"
            assert not self.is_drained[share.node], f"{share.node} is drained"
            assert not self.orphans.get(share.node), f"{share.node} still runs what it should not"
            assert share.node in partition.nodes
            node = next(each for each in self.cluster.nodes if each.name == share.node)
            assert set(shape.features) <= set(node.features)
            gpus = [node.gpus[gpu] for gpu in members(parse_ranges(share.gpus))]
            assert share.memory_bytes >= shape.memory_bytes
            if shape.is_exclusive:
                assert count_of(parse_ranges(share.cpus)) == node.cpu_count
                assert not self._others(share.node), f"{share.node} is not free for an exclusive job"
            else:
                assert count_of(parse_ranges(share.cpus)) == shape.cpus * count
                assert len(gpus) == (1 if shape.gpu_milli else shape.gpus * count)
                assert share.gpu_milli == shape.gpu_milli
                assert not shape.gpu_type or set(gpus) <= {shape.gpu_type}
                assert share.generic == shape.generic
        for index in members(event.elements):
            element = job.elements[index]
            assert element.phase == "pending", f"{event.job_id}.{index} started while {element.phase}"
            assert element.attempt == event.attempt
            assert element.is_met, f"{event.job_id}.{index} started before its dependencies allow"
            element.phase, element.shares = "active", event.shares
        throttle = spec.array.throttle if spec.array else None
        assert throttle is None or job.phases()["active"] <= throttle, "over the throttle"

    def _others(self, node: NodeName) -> list[Element]:
        return [
            element
            for job in self.jobs.values()
            for element in job.elements.values()
            if element.phase == "active" and any(share.node == node for share in element.shares)
        ]

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _ended(self, event: JobEnded) -> None:
        job = self.jobs[event.job_id]
        assert event.elements, "an end of nothing"
        for index in members(event.elements):
            element = job.elements[index]
            assert element.phase != "ended", f"{event.job_id}.{index} ended twice"
            assert element.attempt == event.attempt, f"{event.job_id}.{index} ended as another attempt"
            assert element.has_started <= (event.start_time_s is not None)
            assert event.start_time_s is None or event.start_time_s <= event.end_time_s
            element.phase, element.state = "ended", event.end.state

    # -- dependencies --------------------------------------------------------------------------------------------------

    def _note_dependencies(self) -> None:
        for job_id in tuple(self._unmet):
            job = self.jobs[job_id]
            of_peers = [each for each in job.spec.dependencies if each.kind is DependencyKind.AFTERCORR]
            if not job.is_met:
                answers = [
                    each in of_peers or self._is_met(job_id, 0, each)  # of peers: asked for each element below
                    for each in job.spec.dependencies
                ]
                job.is_met = all(answers) if job.spec.needs_all_dependencies or not answers else any(answers)
            for index, element in job.elements.items():
                if not element.is_peer_met:
                    element.is_peer_met = all(self._is_met(job_id, index, each) for each in of_peers)
                element.is_met = element.is_met or (job.is_met and element.is_peer_met)
            if all(element.is_met for element in job.elements.values()):
                self._unmet.remove(job_id)

    def _is_met(self, job_id: JobId, index: int, dependency: Dependency) -> bool:
        me = self.jobs[job_id]
        if dependency.kind is DependencyKind.SINGLETON:
            same = (job for each, job in self.jobs.items() if each < job_id and job.owner == me.owner)
            return all(job.is_finished for job in same if job.spec.name == me.spec.name)
        parent = self.jobs[dependency.job_id]
        has_failed = any(each.state not in (None, JobState.COMPLETED) for each in parent.elements.values())
        match dependency.kind:
            case DependencyKind.AFTER:
                return all(each.has_started or each.phase == "ended" for each in parent.elements.values())
            case DependencyKind.AFTERANY:
                return parent.is_finished
            case DependencyKind.AFTEROK:
                return parent.is_finished and not has_failed
            case DependencyKind.AFTERNOTOK:
                return parent.is_finished and has_failed
            case _:
                peer = parent.elements.get(index)
                return peer is not None and peer.state is JobState.COMPLETED
