"""Datasets that are brought ahead: in time for the likely start, to one node, and not again."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
import trio.testing

from hal_core.agent.staging import Staging
from hal_core.agent.store import Store
from hal_core.models.dataset import Brought, DataFile, Dataset
from hal_core.models.effect import BringAhead, Stage
from hal_core.models.job import JobId
from hal_core.models.message import AddDataset, Tick
from hal_core.models.placement import AttemptKey
from hal_core.models.plan import Plan, Snapshot
from hal_core.rules.likely_starts import LEAD
from hal_core.testing import FakeSource
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream
from hal_engine_backfill.easy import Easy
from tests.support.core_world import World, make_cluster

RATE = 100.0
GENOME = Dataset("genome", "1", (DataFile("a", 5000, "a" * 64),), ("/data",), "ada", 1000, 1000)
STAGE_S = 50.0
FULL = {"cpus_per_task": 4}


@attrs.frozen
class Liar:
    """An engine that plans well and makes rows of its own of what it tries next."""

    changes: dict[str, Any]

    def plan(self, snapshot: Snapshot) -> Plan:
        rows = [attrs.evolve(row, **self.changes) for row in snapshot.pending()]
        return attrs.evolve(Easy().plan(snapshot), waiting=tuple(rows))


def busy_world(until_s: float) -> World:
    """One node, which is taken until then."""
    world = World(attrs.evolve(make_cluster(1), stage_bytes_per_s=RATE), Easy()).join()
    world.tell(AddDataset(GENOME))
    world.start(walltime_s=until_s, **FULL)
    return world


def ahead(world: World) -> list[BringAhead]:
    return [effect for effect in world.plan().effects if isinstance(effect, BringAhead)]


def waiting(world: World) -> JobId:
    return world.submit(inputs=("dataset:genome",), walltime_s=10.0, **FULL)


def test_what_an_engine_makes_up_of_the_jobs_that_it_tries_next_is_not_believed():
    for lie in ({"shape": None}, {"inputs": 7}, {"job_id": JobId(99)}):
        world = busy_world(until_s=200.0)
        job_id = waiting(world)
        world.now_s = 1000.0 + 200.0 - LEAD * STAGE_S
        world.core.engine = Liar(lie)
        world.tell(Tick())
        assert [order.key.job_id for order in ahead(world)] == [job_id]


def test_it_is_ordered_when_the_start_is_as_near_as_two_transfers_are_long_and_once():
    world = busy_world(until_s=200.0)
    job_id = waiting(world)
    assert ahead(world) == []
    assert world.core.next_wake_s() == 1000.0 + 200.0 - LEAD * STAGE_S, "nothing need happen until then"
    world.now_s = 1000.0 + 200.0 - LEAD * STAGE_S
    world.tell(Tick())
    (order,) = ahead(world)
    assert (order.node, order.key) == ("n0", AttemptKey(job_id, 0, 0))
    assert [each.id for each in order.datasets] == ["genome@1"]
    world.tell(Tick())
    assert ahead(world) == []
    waiting(world)
    assert ahead(world) == [], "another job with these inputs needs no second transfer"


def test_nothing_is_ordered_for_a_job_that_starts_now_or_reads_no_dataset():
    world = busy_world(until_s=20.0)
    world.submit(inputs=("some/path",), **FULL)
    assert ahead(world) == []
    idle = World(attrs.evolve(make_cluster(1), stage_bytes_per_s=RATE), Easy()).join()
    idle.tell(AddDataset(GENOME))
    waiting(idle)
    effects = idle.plan().effects
    assert [type(each) for each in effects] == [Stage]


def test_an_order_that_led_to_no_start_is_given_again_after_an_hour():
    world = busy_world(until_s=20.0)
    waiting(world)
    assert len(ahead(world)) == 1
    world.now_s += 3600.0
    world.tell(Tick())
    assert len(ahead(world)) == 1, "the job before it outlived its limit"


async def test_on_the_node_nobody_holds_what_was_brought_ahead(tmp_path):
    source = FakeSource({"fake:x/a": b"first"})
    dataset = Dataset("x", "1", (DataFile("a", 5, hashlib.sha256(b"first").hexdigest()),), ("fake:x",))
    store = Store(tmp_path, 100, lambda _, address, offset: source.reading(address, offset))
    agents_end, daemons_end = trio.testing.memory_stream_pair()
    staging, frames = Staging(store), FrameStream(agents_end, messages.FROM_DAEMON)
    for attempt in (0, 1):
        await staging.bring(messages.Bring(1, AttemptKey(JobId(7), 0, attempt), (dataset,)), frames)
        assert store.holders() == ({"7.0.1"} if attempt else set())
    said, heard = FrameStream(daemons_end, messages.FROM_AGENT), []
    while len(heard) < 3:
        heard += await said.receive()
    assert heard[0] == messages.Inventory((dataset.id,))
    said_s = heard[1].brought.read_s
    assert [each.brought for each in heard[1:]] == [
        Brought(5, 0, read_s=said_s, missed_count=1),
        Brought(0, 5, found_count=1),
    ]
