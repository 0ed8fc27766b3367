"""For all orders of faults, lags and crashes: when the cloud has settled, nothing is hidden and nothing is doubled."""

from __future__ import annotations

from collections import Counter

import trio
from hypothesis import given, settings, strategies as st

from hal_core.errors import NoCapacity, PluginError, Refused, Unavailable
from hal_core.fleet.fleet import Fleet, FleetOptions
from hal_core.models.node import Node, NodeName
from hal_core.planes import Offer
from hal_core.testing import FakeMachines, Fault

OFFER = Offer("small", Node(NodeName("small"), 4, 1 << 30), price_per_hour=0.1, count_max=6, boot_s=1.0)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("provision"), st.integers(0, 3), st.integers(1, 3)),
        st.tuples(st.just("release"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("fault"), st.sampled_from([*Fault]), st.just(0)),
        st.tuples(st.sampled_from(["crash", "lag", "appear", "empty", "full"]), st.just(0), st.just(0)),
    ),
    max_size=12,
)


class World:
    """The cloud, the daemon of the moment, and what a kernel would remember: what each token was to bring."""

    def __init__(self):
        self.machines = FakeMachines([OFFER])
        self.fleet = Fleet(self.machines, FleetOptions("hal"))
        self.wanted: dict[str, int] = {}
        self.released: set[str] = set()

    async def step(self, kind, what, count):
        match kind:
            case "provision":
                token = f"t{what}"
                self.wanted.setdefault(token, count)
                await self.provision(token)
            case "release":
                await self.release([machine.native_id for machine in self.machines.alive][what : what + 1])
            case "fault":
                self.machines.faults.append(what)
            case "crash":
                self.fleet = Fleet(self.machines, FleetOptions("hal"))
            case "lag":
                self.machines.unlisted = {machine.native_id for machine in self.machines.alive}
            case "appear":
                self.machines.unlisted = set()
            case "empty" | "full":
                self.machines.lists_nothing = kind == "empty"

    async def provision(self, token):
        """What was made; None if it cannot be told."""
        try:
            return await self.fleet.provision("small", self.wanted[token], token)
        except (Refused, NoCapacity):
            return []
        except (Unavailable, PluginError):
            return None

    async def release(self, native_ids):
        await self.fleet.release(native_ids)
        self.released.update(native_ids)

    async def settle(self):
        self.machines.faults.clear()
        self.machines.unlisted = set()
        self.machines.lists_nothing = False
        await self.fleet.instances()


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_is_lost_and_nothing_is_there_twice(steps):
    trio.run(play, steps)


async def play(steps):
    world = World()
    for step in steps:
        await world.step(*step)
    await world.settle()
    there = await world.fleet.instances()
    assert {each.native_id for each in there} == {each.native_id for each in world.machines.alive}, "one is not seen"
    assert max(Counter(each.node for each in there).values(), default=1) == 1, "two machines are one node"
    for token in world.wanted:
        made = await world.provision(token)
        assert made is not None, "nothing fails any more"
        assert len(made) <= world.wanted[token]
    await world.fleet.release([each.native_id for each in await world.fleet.instances()])
    assert not world.machines.alive, "something is left"
    assert await world.fleet.instances() == []
