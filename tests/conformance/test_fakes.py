"""The fakes keep the contracts of their planes, by the very checks that plugins are put through."""

from __future__ import annotations

import math

import attrs
import pytest
import trio

from hal_core.errors import NoCapacity, Unavailable
from hal_core.fleet.fleet import Fleet, FleetOptions
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import End, EndKind, JobId, JobSpec, Owner, Shape
from hal_core.models.message import NodeLost, NodeReported, NodeSilent, PartsChanged
from hal_core.models.node import Node, NodeName, Partition, PartitionName
from hal_core.models.placement import AttemptKey, Share
from hal_core.models.plan import PendingJob, Plan, Start
from hal_core.models.prediction import Prediction
from hal_core.models.topology import Level, Link, Topology
from hal_core.planes import Offer, Replica
from hal_core.testing import (
    FakeCloud,
    FakeColumns,
    FakeEngine,
    FakeExecutor,
    FakeLocality,
    FakeMachines,
    FakeObserver,
    FakePredictor,
    FakeSnapshot,
    FakeSource,
    LocalityTrial,
    check_cloud,
    check_cloud_faults,
    check_data_source,
    check_data_source_broken_off,
    check_engine,
    check_executor,
    check_locality,
    check_locality_broken_off,
    check_observer,
    check_predictor,
    check_suspend_executor,
)

ALL = PartitionName("all")
N1 = NodeName("n1")
NODE = Node(N1, cpu_count=4, memory_bytes=1 << 30)
SPEC = JobSpec(name="check", partition=PartitionName("all"), command=("true",))
QUICK = LaunchOrder(AttemptKey(JobId(1), 0, 1), Owner("u", 1000, 1000), SPEC, Share(N1, 1, "0"), ((N1, 1),))
ENDLESS = attrs.evolve(QUICK, key=AttemptKey(JobId(2), 0, 1))


def behaviour(order: LaunchOrder) -> tuple[float, End]:
    return (math.inf if order.key.job_id == 2 else 1.0), End(EndKind.EXITED, exit_code=0)


def test_fake_engine():
    check_engine(FakeEngine)


def test_fake_engine_keeps_a_gang_in_the_domain_that_it_requires():
    """Found by the check above, once in some hundred runs."""
    nodes = tuple(
        Node(NodeName(name), 1, 1 << 30, location=(rack,)) for name, rack in (("n0", "b"), ("n1", "a"), ("n2", "a"))
    )
    partitions = {ALL: Partition(ALL, tuple(node.name for node in nodes), is_default=True)}
    topology = Topology((Level("rack", Link(1e-6, 1e10)),), Link(1e-3, 1e9))
    snapshot = FakeSnapshot(1.0, 0, FakeColumns.of_idle(nodes), partitions, topology=topology)
    shape = Shape(ALL, 2, 1, 0, level="rack", is_level_required=True)
    snapshot.pending_jobs = (PendingJob(JobId(1), 1, shape, math.inf, 0, 0.0),)
    assert FakeEngine().plan(snapshot).starts == (Start(JobId(1), (1, 2)),)


@pytest.mark.parametrize("does_revise", [False, True])
def test_fake_predictor(does_revise):
    check_predictor(lambda: FakePredictor(does_revise))


class Nonsense(FakePredictor):
    def predict(self, jobs):
        return [Prediction(math.nan, 1.0, 2.0) for _ in jobs]


class Forgetful(FakePredictor):
    def predict(self, jobs):
        return super().predict(jobs)[1:]


class Meddling(FakePredictor):
    def learn(self, outcomes):
        return [JobId(4711)] if outcomes else ()


@pytest.mark.parametrize(("bad", "word"), [(Nonsense, "true"), (Forgetful, "answers"), (Meddling, "never asked")])
def test_a_predictor_that_breaks_its_contract_is_found(bad, word):
    with pytest.raises(AssertionError, match=word):
        check_predictor(bad, does_shrink=False)


async def test_fake_observer():
    await check_observer(FakeObserver)


async def test_fake_locality():
    replicas = [Replica("fake:here", "/here", 5, N1), Replica("fake:shared", "/shared", 7)]
    for dataset in ("fake:here", "fake:shared"):
        fake, trial = FakeLocality(replicas), LocalityTrial(dataset, "fake:gone", NodeName("n2"))
        await check_locality(lambda fake=fake: fake, trial)
        await check_locality_broken_off(lambda fake=fake: fake, trial)


async def test_fake_source():
    content = bytes(range(200))
    source = FakeSource({"fake:here": content, "fake:breaks": content}, piece_bytes=64)
    source.breaks_after["fake:breaks"] = 100
    await check_data_source(source, "fake:here", content, "fake:gone", ["fake:breaks"])
    await check_data_source_broken_off(source, "fake:here", content)


async def test_fake_cloud():
    await check_cloud(FakeCloud([Offer("small", NODE, 0.5, count_max=2, boot_s=30.0)]))


async def test_fake_executor(autojump_clock):
    await check_executor(FakeExecutor([NODE], behaviour), N1, QUICK, ENDLESS)


async def test_the_fake_executor_can_suspend(autojump_clock):
    told = []

    def told_to_end(order):
        return (0.0 if told else 5.0), End(EndKind.EXITED, exit_code=0)

    executor = FakeExecutor([NODE], told_to_end)
    await check_suspend_executor(executor, N1, QUICK, lambda: told.append(True), lambda: True)


async def test_the_fake_executor_loses_and_finds_nodes_as_told(autojump_clock):
    seen = []

    async def report(message):
        seen.append(message)

    executor = FakeExecutor([NODE], behaviour)
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, report)
        await executor.launch(N1, [QUICK, ENDLESS])
        await trio.testing.wait_all_tasks_blocked()
        await executor.silence(N1)
        await executor.launch(N1, [attrs.evolve(QUICK, key=AttemptKey(JobId(3), 0, 1))])  # dropped: out of contact
        await trio.sleep(100)
        await executor.reconnect(N1)
        await executor.crash(N1)
        await executor.reconnect(N1)
        nursery.cancel_scope.cancel()
    kinds = [type(message) for message in seen]
    assert kinds == [NodeReported, PartsChanged, PartsChanged, NodeSilent, NodeReported, NodeLost, NodeReported]
    back = {part.key.job_id: part.end for part in seen[4].parts}
    assert back == {1: End(EndKind.EXITED, exit_code=0), 2: None}
    assert seen[6].parts == ()
    assert seen[6].boot_id != seen[4].boot_id
    assert set(executor.launch_count.values()) == {1}


class Oversubscribes:
    def plan(self, snapshot):
        first = next(snapshot.pending(), None)
        return Plan((Start(first.job_id, tuple(range(first.shape.node_count))),) if first else ())


class NeverStarts:
    def plan(self, snapshot):
        return Plan()


class Scribbles:
    def plan(self, snapshot):
        snapshot.columns.free_cpus[0] -= 1
        return FakeEngine().plan(snapshot)


class SplitsGangs(FakeEngine):
    def plan(self, snapshot):
        plan = super().plan(snapshot)
        return attrs.evolve(plan, starts=tuple(attrs.evolve(each, node_numbers=(0,)) for each in plan.starts))


class Remembers(FakeEngine):
    calls = 0

    def plan(self, snapshot):
        type(self).calls += 1
        return attrs.evolve(super().plan(snapshot), depth=self.calls)


@pytest.mark.parametrize("engine", [Oversubscribes, NeverStarts, Scribbles, SplitsGangs, Remembers])
def test_the_engine_check_finds_engines_that_break_the_contract(engine):
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        check_engine(engine, does_shrink=False)


def test_columns_fit_and_take():
    columns = FakeColumns.of_idle([Node(N1, 4, 100, gpus=("a", "b"), generic=(("x", 1),), features=("f",))])
    shape = Shape(PartitionName("all"), 1, cpus=2, memory_bytes=50, gpus=1, generic=(("x", 1),), features=("f",))
    assert columns.fits(0, shape)
    columns.take(0, shape)
    assert (columns.free_cpus, columns.free_memory_bytes, columns.allocation_count) == ([2], [50], [1])
    assert not columns.fits(0, shape)
    assert columns.fits(0, attrs.evolve(shape, generic=()))
    assert not columns.fits(0, attrs.evolve(shape, generic=(), is_exclusive=True))
    assert PendingJob(JobId(1), 1, shape, math.inf, 0, 0.0).shape is shape


class Doubling(FakeCloud):
    """Whose answer is lost once, and which makes another machine when it is asked again."""

    def __init__(self, offers):
        super().__init__(offers)
        self.faults = []

    async def provision(self, offer, count, token):
        if not self.faults:
            return await super().provision(offer, count, token)
        self.faults.clear()
        await super().provision(offer, count, f"{token}, lost")
        raise Unavailable("lost")


async def test_a_cloud_that_doubles_what_was_lost_is_found_out():
    cloud = Doubling([Offer("small", NODE, 0.1, 3, 1.0)])
    with pytest.raises(AssertionError, match="1 too many"):
        await check_cloud_faults(cloud, cloud.faults.append)


async def test_a_cloud_that_does_not_tell_what_it_lacks_is_found_out():
    class Vague(FakeMachines):
        def create(self, offer, name):
            try:
                return super().create(offer, name)
            except NoCapacity as error:
                raise Unavailable(str(error)) from None

    machines = Vague([Offer("small", NODE, 0.1, 3, 1.0)])
    with pytest.raises(AssertionError, match="is told as Unavailable"):
        await check_cloud_faults(Fleet(machines, FleetOptions("hal")), machines.faults.append)
