"""What HAL would have done with the jobs in a record: the whole core over the simulator's heap, from the first look on.

Jobs come when they were ready in the other scheduler, run as long as they ran there, and find the same nodes closed.
What ran there when the record began has its nodes in HAL's world, too. Pure.

HAL may have started a job whose length is not known yet, because it has not ended there, or not begun. Until its end
could first matter, which is its start with HAL and as long as it is known to have run, nothing that is still to be seen
can change what HAL decides: such decisions are *settled*. Later ones take it to run until its limit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.event import JobPlaced, JobSubmitted
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import Cancel, DrainNode, JobSelection, ResumeNode, Submit
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.rules.core import Core
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob

if TYPE_CHECKING:
    from hal_core.planes import Engine
    from hal_core.shadow.history import Followed, History

LEAD_S: Final = 1.0
"""What ran already when the record began is given its nodes so long before."""
UID_MIN: Final = 10_000
BY: Final = "shadow"


@attrs.frozen
class Decision:
    """What HAL would have done with one job. `start_s` None: it would still wait at the last look."""

    job: Followed
    start_s: float | None
    nodes: tuple[str, ...] = ()
    is_settled: bool = True


@attrs.frozen
class Decisions:
    """In the order in which the jobs came. `left_out`: how many jobs are not compared, by why."""

    jobs: tuple[Decision, ...]
    left_out: dict[str, int]
    settled_s: float
    """All that HAL decided before then is settled."""


def decide_all(history: History, cluster: Cluster, engine: Engine, engine_name: str) -> Decisions:
    """`cluster` may have other nodes too: only those that the other scheduler has take part, with its sizes."""
    assert history.begin_s is not None, "nothing was seen yet"
    world = _World(history, part_of(history, cluster))
    simulation = Simulation(Core(engine, engine_name), world.cluster, start_time_s=history.begin_s - LEAD_S)
    simulation.add_workload(Workload(tuple(job for _, job in world.jobs)))
    simulation.run(history.begin_s - LEAD_S / 2)
    for job_id in _waiting(simulation):
        world.left_out["ran already, and does not fit on its nodes as HAL sees them"] += 1
        simulation.post(simulation.now_s, Cancel(JobSelection(job_id), BY))
    for time_s, message in _closures(history, world.cluster):
        simulation.post(max(time_s, history.begin_s), message)
    simulation.run(history.last_s)
    for refused in simulation.refused:
        if isinstance(refused.message, Submit):
            world.left_out[f"HAL would have refused it: {refused.error}"] += 1
    return world.read(simulation)


def part_of(history: History, cluster: Cluster) -> Cluster:
    """Nodes that the configuration and the other scheduler both have, no larger than it says that they are."""
    nodes = [_as_seen(node, history) for node in cluster.nodes if node.name in history.nodes]
    names = {node.name for node in nodes}
    partitions = [
        attrs.evolve(each, nodes=kept)
        for each in cluster.partitions
        if (kept := tuple(name for name in each.nodes if name in names))
    ]
    return attrs.evolve(cluster, nodes=tuple(nodes), partitions=_with_default(partitions), pools=())


def _as_seen(node: Node, history: History) -> Node:
    seen = history.nodes[node.name]
    cpus = min(node.cpu_count, seen.cpu_count)
    memory_bytes = min(node.memory_bytes, seen.memory_bytes)
    return attrs.evolve(node, cpu_count=cpus, memory_bytes=memory_bytes, gpus=node.gpus[: seen.gpu_count])


def _with_default(partitions: Sequence[Partition]) -> tuple[Partition, ...]:
    if not partitions or any(each.is_default for each in partitions):
        return tuple(partitions)
    return (attrs.evolve(partitions[0], is_default=True), *partitions[1:])


class _World:
    """Which jobs take part, and as what."""

    def __init__(self, history: History, cluster: Cluster) -> None:
        self.cluster = cluster
        self.left_out: Counter[str] = Counter()
        self._history = history
        self._partitions = {partition.name for partition in cluster.partitions}
        self._names = {node.name for node in cluster.nodes}
        self._uids: dict[str, int] = {}
        assert history.begin_s is not None
        self._begin_s: float = history.begin_s
        found = [(job, made) for job in history.jobs.values() if (made := self._made(job)) is not None]
        self.jobs = sorted(found, key=lambda each: each[1].submit_time_s)

    def read(self, simulation: Simulation) -> Decisions:
        job_of = {f"workload-{number}": job for number, (job, _) in enumerate(self.jobs)}
        of_id: dict[JobId, Followed] = {}
        starts: dict[JobId, tuple[float, tuple[str, ...]]] = {}
        for event in simulation.events:
            if isinstance(event, JobSubmitted):
                of_id[event.job_id] = job_of[event.client_id]
            elif isinstance(event, JobPlaced):
                starts.setdefault(event.job_id, (event.time_s, tuple(share.node for share in event.shares)))
        unknown_s = (
            starts[job_id][0] + self._known_run_s(job)
            for job_id, job in of_id.items()
            if job.end_time_s is None and job_id in starts
        )
        settled_s = min(self._history.last_s, *unknown_s, math.inf)
        decisions = []
        for job_id, job in of_id.items():
            if self._ran_before(job):
                continue
            start_s, nodes = starts.get(job_id, (None, ()))
            is_settled = (self._history.last_s if start_s is None else start_s) <= settled_s
            decisions.append(Decision(job, start_s, nodes, is_settled))
        return Decisions(tuple(decisions), dict(self.left_out), settled_s)

    def _known_run_s(self, job: Followed) -> float:
        """At the last look."""
        return 0.0 if job.start_time_s is None else max(self._history.last_s - job.start_time_s, 0.0)

    def _ran_before(self, job: Followed) -> bool:
        return job.start_seen_s <= self._begin_s

    def _made(self, job: Followed) -> WorkloadJob | None:
        why = self._why_not(job)
        if why is not None:
            if why:
                self.left_out[why] += 1
            return None
        run_s = self._run_s(job)
        if self._ran_before(job):
            assert job.start_time_s is not None
            submit_s = self._begin_s - LEAD_S
            run_s = max(job.start_time_s + run_s - submit_s, 0.0)
        else:
            assert job.ready_time_s is not None
            submit_s = max(job.ready_time_s, self._begin_s)
        uid = self._uids.setdefault(job.came.user, UID_MIN + len(self._uids))
        return WorkloadJob(submit_s, self._spec(job, run_s), Owner(job.came.user, uid, uid), run_s)

    def _why_not(self, job: Followed) -> str | None:
        """None: it takes part. Empty: it was over before the record began, which is nobody's business."""
        if job.end_seen_s <= self._begin_s:
            return ""
        if job.came.partition not in self._partitions:
            return "in no partition of the configuration"
        if job.start_time_s is None and job.end_time_s is not None:
            return "ended before it began"
        if job.ready_time_s is None:
            return "waits for a person, another job or a time"
        if self._ran_before(job) and not self._names.intersection(job.nodes):
            return "ran already, on nodes that nobody knows"
        return None

    def _run_s(self, job: Followed) -> float:
        if job.start_time_s is not None and job.end_time_s is not None:
            return max(job.end_time_s - job.start_time_s, 0.0)
        limit_s = math.inf if job.came.limit_s is None else job.came.limit_s
        return max(limit_s, self._known_run_s(job))

    def _spec(self, job: Followed, run_s: float) -> JobSpec:
        came, count = job.came, max(job.came.node_count, 1)
        pinned = tuple(NodeName(name) for name in job.nodes if name in self._names) if self._ran_before(job) else ()
        limit_s = None if came.limit_s is None else max(came.limit_s, run_s)
        return JobSpec(
            name=came.key,
            partition=PartitionName(came.partition),
            command=("true",),
            node_count=len(pinned) or count,
            task_count=len(pinned) or count,
            cpus_per_task=-(-came.cpu_count // count),
            memory_bytes_per_node=-(-came.memory_bytes // count),
            gpus_per_node=-(-came.gpu_count // count),
            walltime_s=limit_s,
            only_nodes=pinned,
        )


def _waiting(simulation: Simulation) -> list[JobId]:
    """Who was submitted and has no nodes."""
    placed = {event.job_id for event in simulation.events if isinstance(event, JobPlaced)}
    submitted = [event.job_id for event in simulation.events if isinstance(event, JobSubmitted)]
    return [job_id for job_id in submitted if job_id not in placed]


def _closures(history: History, cluster: Cluster) -> Iterator[tuple[float, DrainNode | ResumeNode]]:
    """Nodes that took no work for a while, in the order of time."""
    closed: set[str] = set()
    names = {node.name for node in cluster.nodes}
    for seen in history.node_changes:
        if seen.name not in names or bool(seen.closed) == (seen.name in closed):
            continue
        name = NodeName(seen.name)
        if seen.closed:
            closed.add(seen.name)
            yield seen.time_s, DrainNode(name, seen.closed, BY)
        else:
            closed.discard(seen.name)
            yield seen.time_s, ResumeNode(name, BY)
