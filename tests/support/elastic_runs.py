"""Batch jobs on the heap shell, without and with an elastic job beside them: what it recovers, and whom it delays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import attrs

from hal_core.models.event import Event, JobEnded, JobPlaced, JobRequeued, PartStarted, Planned
from hal_core.models.job import ArraySpec, JobId, JobSpec, Owner
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.plugins import Plugins
from hal_core.rules.core import Core
from hal_core.sim.executor_model import Delays
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Mix, Workload, WorkloadJob, generate

PARTITION = PartitionName("main")
FOR_EVER_S = 1e9
GRACE_S = 1.0


@attrs.frozen
class Case:
    """One cluster with its batch jobs. `leave_s`: how long an elastic element takes to end when it is asked to."""

    cluster: Cluster
    batch: Workload
    engine: str = "easy"
    leave_s: float = 0.05

    @property
    def cpu_count(self) -> int:
        return sum(node.cpu_count for node in self.cluster.nodes)

    @property
    def span_s(self) -> float:
        """From the first submission to the last."""
        return self.batch.jobs[-1].submit_time_s


@attrs.frozen
class Found:
    """Of one run, up to the last submission: when each batch job began, and CPU-seconds by kind."""

    start_s: dict[JobId, float]
    batch_cpu_s: float
    elastic_cpu_s: float
    events: list[Event]


def make_case(random: Random, job_count: int, load: float, node_count: int = 16, cpus: int = 8) -> Case:
    """Batch jobs that come so fast that they need that share of the cluster."""
    names = [NodeName(f"n{number:03}") for number in range(node_count)]
    nodes = tuple(Node(name, cpus, 0) for name in names)
    cluster = Cluster("c", nodes, (Partition(PARTITION, tuple(names), is_default=True),))
    mix = Mix(runtime_s_mean=600.0, node_count_max=max(node_count // 4, 1), cpu_count_max=cpus, failed_share=0.0)
    made = generate(random, job_count, PARTITION, mix)
    need_cpu_s = sum(job.runtime_s * cpus_of(job.spec) for job in made.jobs)
    stretch = need_cpu_s / (load * node_count * cpus) / made.jobs[-1].submit_time_s
    jobs = [attrs.evolve(job, submit_time_s=job.submit_time_s * stretch) for job in made.jobs]
    return Case(cluster, Workload.of(jobs))


def run(case: Case, elastic: Iterable[WorkloadJob] = ()) -> Found:
    """Elastic jobs come first, so that batch jobs have the same numbers after as many of them."""
    extra = tuple(elastic)
    core = Core(Plugins.load({}).engine(case.engine), case.engine)
    simulation = Simulation(core, case.cluster, Delays(cancel_share=case.leave_s / GRACE_S))
    simulation.add_workload(Workload.of((*extra, *case.batch.jobs)))
    simulation.run(case.span_s)
    assert not simulation.refused
    return measured(simulation.events, len(extra), case)


def measured(events: list[Event], extra: int, case: Case) -> Found:
    """Jobs of the first `extra` numbers are elastic; batch jobs are numbered as if there were none of these."""
    cpus = {JobId(1 + at): cpus_of(job.spec) for at, job in enumerate(case.batch.jobs)}
    start_s: dict[JobId, float] = {}
    began: dict[tuple[JobId, int], float] = {}
    spent = [0.0, 0.0]

    def end(job_id: JobId, index: int, time_s: float) -> None:
        begin_s = began.pop((job_id, index), None)
        if begin_s is not None:
            is_elastic = job_id <= extra
            spent[is_elastic] += (time_s - begin_s) * (1 if is_elastic else cpus[JobId(job_id - extra)])

    for event in events:
        match event:
            case JobPlaced(job_id=job_id, elements=elements) if job_id > extra:
                start_s[JobId(job_id - extra)] = event.time_s
                for first, stop in elements:
                    began.update({(job_id, index): event.time_s for index in range(first, stop)})
            case PartStarted(key=key) if key.job_id <= extra:
                began[key.job_id, key.index] = event.time_s
            case JobEnded(job_id=job_id, elements=elements):
                for first, stop in elements:
                    for index in range(first, stop):
                        end(job_id, index, event.time_s)
            case JobRequeued(key=key):
                end(key.job_id, key.index, event.time_s)
    for job_id, index in list(began):
        end(job_id, index, case.span_s)
    return Found(start_s, spent[0], spent[1], events)


def waits_s(events: Iterable[Event]) -> list[float]:
    """How long each start waited for elastic jobs to leave."""
    granted: dict[JobId, float] = {}
    waits = []
    for event in events:
        if isinstance(event, JobPlaced) and event.job_id in granted:
            waits.append(event.time_s - granted.pop(event.job_id))
        elif isinstance(event, Planned):
            granted = {grant.job_id: grant.time_s for grant in event.grants}
    return waits


def session_job(count: int, weight: int = 1, submit_time_s: float = 0.0, name: str = "session") -> WorkloadJob:
    """The workers of a session: so many elements of one CPU that never end by themselves."""
    spec = JobSpec(
        name, PARTITION, command=("work",), array=ArraySpec(((0, count),)),
        kill_grace_s=GRACE_S, elastic_weight=weight,
    )  # fmt: skip
    return WorkloadJob(submit_time_s, spec, Owner("u", 1000, 1000), FOR_EVER_S)


def cpus_of(spec: JobSpec) -> int:
    return spec.node_count * spec.shape().cpus


def delays_s(alone: Found, beside: Found) -> list[float]:
    """How much later each batch job began; infinity if it did not, though it began a minute before the end alone."""
    last_s = max(alone.start_s.values()) - 60.0
    known = beside.start_s
    return [
        known.get(job_id, math.inf) - start_s
        for job_id, start_s in alone.start_s.items()
        if job_id in known or start_s < last_s
    ]
