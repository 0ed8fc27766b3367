"""Hypothesis strategies for the nouns of HAL: small clusters, shapes that sometimes fit, snapshots, specs, workloads.

Amounts are small on purpose: what makes scheduling hard is contention, not size. Strategies are made once and
kept, because hypothesis looks through each new one before it draws from it.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import attrs
from hypothesis import strategies as st

from hal_core.models.job import ArraySpec, JobId, JobSpec, Shape, Spread
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.plan import PendingJob, RunningJob
from hal_core.models.topology import Level, LevelKind, Link, Topology
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot

GIB = 1 << 30
LEVELS = ("rack", "leaf")
GPU_TYPES = ("a100", "h100")
FEATURES = ("fast", "ib")
LICENCE = "licence"


@cache
def nodes(name: str = "n1") -> st.SearchStrategy[Node]:
    """One node with up to 8 CPUs, 16 GiB, 4 GPUs of up to two types, licences and features."""
    return st.builds(
        Node,
        name=st.just(NodeName(name)),
        cpu_count=st.integers(1, 8),
        memory_bytes=st.integers(1, 16).map(lambda count: count * GIB),
        gpus=st.lists(st.sampled_from(GPU_TYPES), max_size=4).map(lambda kinds: tuple(sorted(kinds))),
        generic=st.just(()) | st.integers(1, 4).map(lambda count: ((LICENCE, count),)),
        features=st.sets(st.sampled_from(FEATURES)).map(lambda found: tuple(sorted(found))),
        location=st.tuples(st.sampled_from("ab"), st.sampled_from("xy")),
    )


@cache
def topologies() -> st.SearchStrategy[Topology]:
    """Two levels, each faster than what is around it."""
    kinds = st.sampled_from([LevelKind.TREE, LevelKind.BLOCK, LevelKind.DRAGONFLY])
    return st.builds(
        lambda outer, inner, segment: Topology(
            (Level(LEVELS[0], Link(1e-5, 1e10), outer), Level(LEVELS[1], Link(1e-6, 1e11), inner, segment=segment)),
            Link(1e-3, 1e9),
        ),
        kinds,
        kinds,
        st.integers(1, 3),
    )


@st.composite
def clusters(draw: st.DrawFn, node_count_max: int = 6) -> Cluster:
    """A cluster whose partition `all` holds every node; sometimes a partition `some` holds a few of them."""
    count = draw(st.integers(1, node_count_max))
    members = tuple(draw(nodes(f"n{number}")) for number in range(count))
    names = tuple(node.name for node in members)
    partitions = [Partition(PartitionName("all"), names, is_default=True)]
    if draw(st.booleans()):
        some = draw(st.sets(st.sampled_from(names), min_size=1))
        partitions.append(Partition(PartitionName("some"), tuple(name for name in names if name in some)))
    return Cluster("test", members, tuple(partitions), topology=draw(st.none() | topologies()))


@cache
def shapes(partitions: tuple[str, ...] = ("all",)) -> st.SearchStrategy[Shape]:
    """Shapes of which many fit on the nodes above, and some on none."""
    none_or_few = st.just(0) | st.integers(0, 3)
    return st.builds(
        _shape,
        partition=st.sampled_from([PartitionName(name) for name in partitions]),
        node_count=st.just(1) | st.integers(1, 4),
        cpus=st.integers(1, 9),
        memory_bytes=st.integers(0, 17).map(lambda count: count * GIB),
        gpus=none_or_few,
        gpu_type=st.just("") | st.sampled_from(GPU_TYPES),
        generic=st.just(()) | st.integers(1, 3).map(lambda count: ((LICENCE, count),)),
        features=st.just(()) | st.sampled_from([(name,) for name in FEATURES]),
        only_nodes=st.just(()) | st.sampled_from([(), (NodeName("n0"), NodeName("n1"))]),
        excluded_nodes=st.just(()) | st.sampled_from([(), (NodeName("n1"),)]),
        is_exclusive=st.sampled_from([False, False, False, True]),
        communication=st.sampled_from([0.0, 0.1, 0.4]),
        gpu_milli=st.sampled_from([0, 0, 0, 200, 500, 700]),
        also=st.sampled_from([0, 0, 0, 1, 2]).flatmap(lambda count: st.tuples(*[_further()] * count)),
    )


def _shape(gpus: int, gpu_milli: int, also: tuple[Shape, ...], **fields: Any) -> Shape:
    """Either whole GPUs or a share of one. What a job of several components shares is the same in all."""
    shape = Shape(**fields, gpus=0 if gpu_milli else gpus, gpu_milli=gpu_milli)
    if not also:
        return shape
    of_all = {name: getattr(shape, name) for name in ("partition", "is_exclusive", "excluded_nodes")}
    return attrs.evolve(
        shape, communication=0.0, only_nodes=(), also=tuple(attrs.evolve(each, **of_all) for each in also)
    )


def _further() -> st.SearchStrategy[Shape]:
    """What a further component of a job may ask for."""
    return st.builds(
        Shape,
        partition=st.just(PartitionName("all")),
        node_count=st.integers(1, 2),
        cpus=st.integers(1, 4),
        memory_bytes=st.integers(0, 4).map(lambda count: count * GIB),
        gpus=st.sampled_from([0, 0, 1]),
        features=st.just(()) | st.sampled_from([(name,) for name in FEATURES]),
    )


def near(shape: Shape, has_topology: bool) -> st.SearchStrategy[Shape]:
    """The shape as it is, or with a level of the topology that it prefers or requires."""
    if not has_topology or shape.also:
        return st.just(shape)
    return st.just(shape) | st.builds(
        partial(attrs.evolve, shape), level=st.sampled_from(LEVELS), is_level_required=st.booleans()
    )


@cache
def walltimes() -> st.SearchStrategy[float]:
    return st.just(math.inf) | st.integers(1, 100_000).map(float)


@st.composite
def snapshots(draw: st.DrawFn, pending_count_max: int = 12, running_count_max: int = 8) -> FakeSnapshot:
    """A consistent snapshot: what runs fits, free amounts follow from it, pending jobs are in their order."""
    cluster = draw(clusters())
    partitions = {partition.name: partition for partition in cluster.partitions}
    unavailable = draw(st.sets(st.integers(0, len(cluster.nodes) - 1), max_size=2))
    columns = FakeColumns.of_idle(cluster.nodes)
    now_s = draw(st.integers(1, 1_000_000).map(float))
    snapshot = FakeSnapshot(now_s, draw(st.integers(0, 10_000)), columns, partitions, topology=cluster.topology)
    drawn = draw(st.lists(shapes(tuple(partitions)), min_size=1, max_size=4))
    some_shapes = [draw(near(shape, cluster.topology is not None)) for shape in drawn]
    running = []
    for number in range(draw(st.integers(0, running_count_max))):
        shape = draw(st.sampled_from(some_shapes))
        chosen = columns.places(shape, snapshot.partition_nodes(shape.partition))
        if not chosen:
            continue
        columns.take_all(chosen, shape)
        end_time_s = now_s + draw(walltimes())
        running.append(RunningJob(JobId(number + 1), 0, shape, chosen, end_time_s))
    columns.is_available = [number not in unavailable for number in range(len(cluster.nodes))]
    snapshot.running_jobs = tuple(running)
    pending = [
        PendingJob(
            job_id=JobId(1000 + number),
            element_count=draw(st.just(1) | st.integers(1, 20)),
            shape=draw(st.sampled_from(some_shapes)),
            walltime_s=draw(walltimes()),
            priority=draw(st.integers(-2, 2)),
            submit_time_s=now_s - draw(st.integers(0, 1000)),
        )
        for number in range(draw(st.integers(0, pending_count_max)))
    ]
    pending.sort(key=lambda job: (-job.priority, job.submit_time_s, job.job_id))
    snapshot.pending_jobs = tuple(pending)
    return snapshot


@st.composite
def job_specs(draw: st.DrawFn, partition: str = "all") -> JobSpec:
    """Valid specs of small jobs: single, gangs, arrays; with and without a limit. They run `true`."""
    node_count = draw(st.just(1) | st.integers(1, 3))
    array = None
    if node_count == 1 and draw(st.booleans()):
        start = draw(st.integers(0, 5))
        throttle = draw(st.none() | st.integers(1, 3))
        array = ArraySpec(((start, start + draw(st.integers(1, 6))),), throttle)
    return JobSpec(
        name=draw(st.sampled_from(["a", "b", "train"])),
        partition=PartitionName(partition),
        command=("true",),
        node_count=node_count,
        task_count=node_count * draw(st.integers(1, 2)),
        cpus_per_task=draw(st.integers(1, 2)),
        memory_bytes_per_node=draw(st.integers(0, 2)) * GIB,
        is_exclusive=draw(st.sampled_from([False, False, True])),
        walltime_s=draw(st.none() | st.integers(1, 1000).map(float)),
        priority=draw(st.integers(-1, 1)),
        array=array,
        spread=draw(st.sampled_from(Spread)),
    )


def workloads(size_max: int = 12) -> st.SearchStrategy[list[tuple[float, JobSpec, float]]]:
    """Jobs over time, in order of submission: (submit time in s, spec, true run time in s)."""
    times = st.integers(0, 500).map(float)
    runtimes = st.integers(0, 300).map(float)
    return st.lists(st.tuples(times, job_specs(), runtimes), max_size=size_max).map(
        lambda items: sorted(items, key=lambda item: item[0])
    )
