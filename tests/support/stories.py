"""Stories: all that can happen to a small cluster from outside, drawn at random, and how they go in the simulator."""

from __future__ import annotations

from random import Random

import attrs

from hal_core.models.event import Event
from hal_core.models.job import ArraySpec, Dependency, DependencyKind, JobId, Spread
from hal_core.models.message import (
    Cancel,
    DrainNode,
    Hold,
    JobSelection,
    Message,
    NodeLost,
    NodeSilent,
    Release,
    Requeue,
    ResumeNode,
    SetPriority,
)
from hal_core.models.node import Cluster, NodeName
from hal_core.planes import Engine
from hal_core.rules.core import Core
from hal_core.sim.executor_model import Delays, Fault
from hal_core.sim.simulation import Simulation
from hal_core.sim.workload import Workload, WorkloadJob
from tests.support.core_world import ADA, GIB, make_cluster, make_spec

CLUSTER = attrs.evolve(
    make_cluster(3, gpus=("a100", "h100"), generic=(("licence", 2),), features=("fast",)), node_timeout_s=20.0
)


@attrs.frozen
class Story:
    """All that happens to a cluster from outside."""

    cluster: Cluster
    workload: Workload
    script: tuple[tuple[float, Message], ...]
    faults: tuple[Fault, ...]
    delays: Delays


def run_simulation(story: Story, engine: Engine) -> list[Event]:
    simulation = Simulation(Core(engine, "test"), story.cluster, story.delays)
    simulation.add_workload(story.workload)
    simulation.add_faults(story.faults)
    for time_s, message in story.script:
        simulation.post(time_s, message)
    simulation.run()
    return simulation.events


def make_story(random: Random) -> Story:
    """Jobs of every kind close together in time, people who interfere, nodes that fail and come back."""
    jobs = [_job(random, number) for number in range(random.randint(1, 25))]
    script = tuple((_time_s(random), _order(random, len(jobs))) for _ in range(random.randint(0, 15)))
    faults = []
    for node in CLUSTER.nodes[: random.randint(0, 2)]:
        lost_s = _time_s(random)
        faults.append(Fault(node.name, lost_s, lost_s + random.choice([2.0, 10.0, 20.0, 40.0])))
    delays = Delays(*(random.choice([0.0, 0.0, 0.5, 3.0]) for _ in range(2)), random.choice([0.0, 0.5]))
    return Story(CLUSTER, Workload.of(jobs), script, tuple(faults), delays)


def _time_s(random: Random) -> float:
    """Often the same instant as something else."""
    return random.choice([float(random.randint(0, 20)), random.randint(0, 800) / 8])


def _job(random: Random, number: int) -> WorkloadJob:
    node_count = random.choice([1, 1, 1, 2, 3])
    array = None
    if random.random() < 0.3:
        array = ArraySpec(((0, random.randint(1, 5)),), random.choice([None, 1, 2]))
    kinds = [DependencyKind.AFTEROK, DependencyKind.AFTERANY, DependencyKind.AFTER, DependencyKind.AFTERNOTOK]
    dependencies: tuple[Dependency, ...] = ()
    if random.random() < 0.2:
        dependencies = (Dependency(DependencyKind.SINGLETON),)
    elif number and random.random() < 0.3:
        dependencies = (Dependency(random.choice(kinds), JobId(random.randint(1, number))),)
    spec = make_spec(
        name=random.choice("ab"),
        node_count=node_count,
        task_count=node_count,
        cpus_per_task=random.randint(1, 4),
        memory_bytes_per_node=random.choice([0, GIB, 5 * GIB]),
        gpus_per_node=random.choice([0, 0, 0, 1]),
        generic_per_node=random.choice([(), (), (("licence", 1),)]),
        is_exclusive=random.random() < 0.1,
        walltime_s=random.choice([None, 8.0, 30.0, 100.0]),
        array=array,
        dependencies=dependencies,
        priority=random.choice([0, 0, 1, -1]),
        begin_time_s=random.choice([0.0, 0.0, 0.0, 12.0, 33.125]),
        spread=random.choice(list(Spread)),
        inputs=random.choice([(), (), ("data",)]),
        kill_grace_s=4.0,
    )
    return WorkloadJob(_time_s(random), spec, ADA, random.randint(0, 400) / 8, random.choice([0, 0, 0, 1]))


def _order(random: Random, job_count: int) -> Message:
    selection = JobSelection(JobId(random.randint(1, job_count + 1)))
    node = NodeName(f"n{random.randint(0, 2)}")
    return random.choice(
        [
            Cancel(selection, "ada"),
            Requeue(selection, "ada"),
            Hold(selection, "ada"),
            Release(selection, "ada"),
            SetPriority(selection.job_id, 5, "root"),
            DrainNode(node, "work", "root"),
            ResumeNode(node, "root"),
            NodeSilent(node),
            NodeLost(node, "test"),
        ]
    )
