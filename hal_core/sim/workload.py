"""Workloads: which jobs come when, and what will really happen to them. Only the simulated planes read the truth.

The core sees the job specs alone, so no engine can peek at a run time. Randomness is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import attrs

from hal_core.models.job import ArraySpec, JobSpec, Owner
from hal_core.models.message import Submission, Submit
from hal_core.models.node import PartitionName


@attrs.frozen
class WorkloadJob:
    """One submission and its truth: how long each element (and each part of a gang) runs, and how it exits."""

    submit_time_s: float
    spec: JobSpec
    owner: Owner
    runtime_s: float
    exit_code: int = 0


@attrs.frozen
class Workload:
    """Jobs in the order of their submission."""

    jobs: tuple[WorkloadJob, ...]

    @classmethod
    def of(cls, jobs: Iterable[WorkloadJob]) -> Workload:
        """From jobs in any order; jobs of the same time keep theirs."""
        return cls(tuple(sorted(jobs, key=lambda job: job.submit_time_s)))

    def submissions(self) -> Iterator[tuple[float, str, Submit]]:
        """(time, client id, message) for each job. The client id is how the truth is found again."""
        for number, job in enumerate(self.jobs):
            client_id = f"workload-{number}"
            yield job.submit_time_s, client_id, Submit((Submission(client_id, job.owner, job.spec),))


@attrs.frozen
class Mix:
    """What `generate` draws from. Times are exponential with these means, sizes uniform up to these."""

    arrival_s_mean: float = 30.0
    runtime_s_mean: float = 300.0
    node_count_max: int = 4
    cpu_count_max: int = 4
    element_count_max: int = 1
    user_count: int = 5
    failed_share: float = 0.05
    limit_factor_max: float = 4.0
    """The user's limit is up to so many times the true run time; below 1 the job is killed at it."""


def generate(random: Random, job_count: int, partition: PartitionName, mix: Mix | None = None) -> Workload:
    """A small synthetic workload. The same `random` and arguments make the same workload."""
    mix = Mix() if mix is None else mix
    jobs = []
    time_s = 0.0
    for number in range(job_count):
        time_s += random.expovariate(1.0 / mix.arrival_s_mean)
        runtime_s = random.expovariate(1.0 / mix.runtime_s_mean)
        element_count = random.randint(1, mix.element_count_max)
        node_count = random.randint(1, mix.node_count_max) if element_count == 1 else 1
        uid = 1000 + random.randrange(mix.user_count)
        spec = JobSpec(
            name=f"job{number}",
            partition=partition,
            command=("true",),
            node_count=node_count,
            task_count=node_count,
            cpus_per_task=random.randint(1, mix.cpu_count_max),
            walltime_s=max(1.0, runtime_s * random.uniform(0.9, mix.limit_factor_max)),
            array=ArraySpec(((0, element_count),)) if element_count > 1 else None,
        )
        exit_code = 1 if random.random() < mix.failed_share else 0
        jobs.append(WorkloadJob(time_s, spec, Owner(f"user{uid}", uid, uid), runtime_s, exit_code))
    return Workload(tuple(jobs))
