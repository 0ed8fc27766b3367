"""The pools' shell against a cloud in memory that loses answers, has no more, lists nothing, and fails."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from hal_core.errors import NoCapacity, Unavailable
from hal_core.kernel.renting import Renting
from hal_core.models.event import Event
from hal_core.models.job import JobState
from hal_core.models.message import Answer, Message, NodeSilent
from hal_core.models.node import Node, NodeName
from hal_core.models.pool_event import InstanceGone, InstanceJoined, InstancesRequested, InstancesStarted
from hal_core.planes import Instance, Offer
from hal_core.rules.state import State
from hal_core.testing import FakeCloud
from tests.support.core_world import GIB
from tests.support.pool_world import SMALL, PoolWorld, pool_cluster

ROOM = 100
"""The cloud never gives a node twice."""
LOST, ERROR, FULL, BUG = "done, and the answer is lost", "not done", "no more", "the plugin fails"


class Cloud(FakeCloud):
    """`faults` meet the next requests, in order."""

    def __init__(self, price: float = 1.0) -> None:
        super().__init__([Offer(SMALL, Node(NodeName(SMALL), 4, 8 * GIB), price, 50, 1.0)])
        self.faults: deque[str] = deque()
        self.release_faults: deque[str] = deque()
        self.most = 0

    async def provision(self, offer: str, count: int, token: str) -> Sequence[Instance]:
        fault = self.faults.popleft() if self.faults else ""
        if fault == FULL:
            raise NoCapacity("there is no more", 60.0)
        if fault == ERROR:
            raise Unavailable("the server has an error", 5.0)
        if fault == BUG:
            raise ZeroDivisionError
        made = await super().provision(offer, count, token)
        self.most = max(self.most, len(await super().instances()))
        if fault == LOST:
            raise Unavailable("the connection was closed", 5.0)
        return made

    async def release(self, native_ids: Sequence[str]) -> None:
        if self.release_faults and self.release_faults.popleft() == BUG:
            raise ZeroDivisionError
        await super().release(native_ids)


class Site:
    """A kernel without a disk, and the agents of its nodes: jobs end as soon as they run."""

    def __init__(self, **terms: Any) -> None:
        self.world = PoolWorld(pool_cluster(rented=ROOM, form="cloud{}", **terms))
        self.told: dict[str, float] = {}
        self.revoked: list[str] = []
        self._has_advanced = trio.Event()

    @property
    def state(self) -> State:
        return self.world.state

    @property
    def durable_sequence(self) -> int:
        return self.state.sequence

    def of(self, kind: type[Event]) -> list[Any]:
        return self.world.of(kind)

    def advanced(self) -> None:
        self._has_advanced.set()
        self._has_advanced = trio.Event()

    async def ask(self, message: Message) -> Answer:
        await trio.lowlevel.checkpoint()
        self.world.now_s = 1000.0 + trio.current_time()
        answer = self.world.tell(message)
        self.advanced()
        return answer

    async def report(self, message: Message) -> None:
        await self.ask(message)

    async def settled(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_beyond(self, sequence: int) -> None:
        while self.durable_sequence <= sequence:
            await self._has_advanced.wait()

    async def live(self) -> None:
        while True:
            before = self.durable_sequence
            self.world.boot().settle()
            for activity in list(self.state.allocations.values()):
                self.world.end(activity.key)
            if self.durable_sequence == before:
                await self.wait_beyond(before)
            self.advanced()
            await trio.lowlevel.checkpoint()

    async def revoke(self, node: NodeName) -> None:
        self.revoked.append(node)

    def until_told(self, node: NodeName, left_s: float) -> None:
        self.told[node] = left_s

    def renting(self, cloud: Cloud) -> Renting:
        return Renting(self, {"fake": cloud}, lambda: 1000.0 + trio.current_time(), self.until_told, self.revoke)

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(50_000.0):
            while not holds():
                await self.wait_beyond(self.durable_sequence)


@asynccontextmanager
async def rented(site: Site, cloud: Cloud) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.renting(cloud).run)
        nursery.start_soon(site.live)
        yield
        nursery.cancel_scope.cancel()


def is_over(site: Site) -> bool:
    return not site.world.instances and not site.state.jobs


async def finish(site: Site, cloud: Cloud) -> None:
    """All jobs ended well, and nothing is left anywhere."""
    async with rented(site, cloud):
        await site.until(lambda: is_over(site))
    assert await cloud.instances() == ()
    assert all(record.state is JobState.COMPLETED for record in site.state.recent.values())
    started = {each.instance for event in site.of(InstancesStarted) for each in event.started}
    assert started == {event.instance for event in site.of(InstanceGone)}
    site.world.check_at_end()


async def test_a_burst_is_served_and_all_is_given_back(autojump_clock: trio.testing.MockClock) -> None:
    site, cloud = Site(count_max=20), Cloud()
    site.world.submit(array="0-39", cpus_per_task=4, walltime_s=60.0)
    await finish(site, cloud)
    assert 1 < cloud.most <= 20
    assert len(site.of(InstanceJoined)) == sum(event.count for event in site.of(InstancesRequested))
    assert set(site.told.values()) == {math.inf}, "no node is a rented one any more"
    assert site.revoked, "what they could show is void"


@pytest.mark.parametrize("faults", [[LOST], [ERROR] * 5, [FULL] * 3, [BUG, LOST, FULL, ERROR, LOST], [LOST] * 4])
async def test_faults_double_nothing_and_lose_nothing(
    faults: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    site, cloud = Site(count_max=3), Cloud()
    cloud.faults.extend(faults)
    site.world.submit(array="0-5", cpus_per_task=4, walltime_s=60.0)
    await finish(site, cloud)
    assert cloud.most <= 3


async def test_a_shell_that_begins_anew_goes_on_where_the_last_one_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    site, cloud = Site(), Cloud()
    cloud.faults.extend([LOST] * 3)
    site.world.submit(array="0-2", cpus_per_task=4, walltime_s=60.0)
    for _ in range(3):
        async with rented(site, cloud):
            await site.wait_beyond(site.durable_sequence)
    await finish(site, cloud)
    assert cloud.most <= 3


async def test_what_no_pool_knows_of_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    site, cloud = Site(), Cloud()
    await cloud.provision(SMALL, 2, "of another life")
    async with rented(site, cloud):
        await trio.sleep(1000.0)
    assert await cloud.instances() == ()


async def test_a_plugin_that_fails_when_what_nobody_knows_of_is_to_end_is_asked_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    site, cloud = Site(), Cloud()
    await cloud.provision(SMALL, 2, "of another life")
    cloud.release_faults.append(BUG)
    async with rented(site, cloud):
        await trio.sleep(1000.0)
    assert not cloud.release_faults
    assert await cloud.instances() == ()


async def test_a_list_that_fails_says_nothing_and_one_that_lacks_a_silent_node_says_that_it_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    site, cloud = Site(count_min=1), Cloud()
    async with rented(site, cloud):
        await site.until(lambda: len(site.of(InstanceJoined)) == 1)
        cloud.is_unreachable = True
        await trio.sleep(1000.0)
        assert len(site.world.instances) == 1
        cloud.is_unreachable = False
        await cloud.release([site.world.instances[0].native_id])
        await trio.sleep(1000.0)
        assert len(site.of(InstanceGone)) == 0, "its node is in contact"
        assert site.revoked == []
        node = NodeName(site.world.instances[0].node)
        site.world.tell(NodeSilent(node))
        await site.until(lambda: len(site.of(InstanceGone)) == 1)
        assert site.revoked == [node], "what it could show is void"
        await site.until(lambda: len(site.of(InstanceJoined)) == 2)


async def test_what_costs_more_than_the_configuration_says_is_not_rented(
    autojump_clock: trio.testing.MockClock,
) -> None:
    site, cloud = Site(), Cloud(price=1.5)
    site.world.submit(walltime_s=60.0)
    async with rented(site, cloud):
        await site.until(lambda: bool(site.world.ledger.closed_why))
    assert site.world.ledger.closed_why == {SMALL: "offer small costs 1.5 an hour, the configuration says 1"}
    assert await cloud.instances() == ()
