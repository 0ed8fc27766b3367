"""The fleet against a cloud that loses answers, lags behind, and lists nothing: no machine is lost, none is doubled."""

from __future__ import annotations

import threading

import attrs
import pytest
import trio

from hal_core.errors import InvalidInput, NoCapacity, NotFound, PluginError, Refused, Unavailable
from hal_core.fleet.fleet import Fleet, FleetOptions
from hal_core.fleet.machines import Machine, MachineName, digest_of
from hal_core.fleet.sightings import Sightings
from hal_core.models.node import Node, NodeName
from hal_core.options import structure_options
from hal_core.planes import Offer
from hal_core.testing import FakeMachines, Fault, check_cloud, check_cloud_faults

SMALL = Offer("small", Node(NodeName("small"), 4, 1 << 30), price_per_hour=0.1, count_max=5, boot_s=1.0)
BIG = attrs.evolve(SMALL, name="big-2", count_max=2)
FOREIGN = Machine("m99", "somebody-elses", is_ready=True)


def fleet_over(machines, **options):
    return Fleet(machines, FleetOptions("hal", **options))


def cloud(*faults):
    return FakeMachines([SMALL, BIG], faults)


def nodes(instances):
    return [instance.node for instance in instances]


async def test_it_keeps_the_contract_of_a_cloud():
    await check_cloud(fleet_over(cloud()))


async def test_it_bears_every_fault():
    machines = cloud()
    await check_cloud_faults(fleet_over(machines), machines.faults.append)
    assert not machines.alive


async def test_nodes_have_names_that_can_be_declared_and_are_used_again():
    fleet = fleet_over(cloud())
    made = await fleet.provision("small", 3, "t1")
    assert nodes(made) == ["hal-small-0", "hal-small-1", "hal-small-2"]
    await fleet.release([made[1].native_id])
    assert nodes(await fleet.provision("big-2", 1, "t2")) == ["hal-big-2-0"]
    # The slot of a machine that has just ended comes last: its agent may still be taking leave.
    assert nodes(await fleet.provision("small", 2, "t3")) == ["hal-small-3", "hal-small-4"]
    assert nodes(await fleet.provision("small", 1, "t4")) == ["hal-small-1"]
    with pytest.raises(Refused, match="5 of 5 are in use, 1 more wanted"):
        await fleet.provision("small", 1, "t5")


async def test_a_daemon_that_comes_back_finds_its_machines_and_its_tokens():
    machines = cloud()
    made = await fleet_over(machines).provision("small", 2, "t1")
    heir = fleet_over(machines)
    assert await heir.instances() == made
    assert await heir.provision("small", 2, "t1") == made
    assert len(await heir.provision("small", 3, "t1")) == 3
    assert len(machines.alive) == 3


async def test_what_is_not_ours_is_neither_seen_nor_ended():
    machines = cloud()
    other = Machine("m98", "halifax-small-0-" + digest_of("t"), is_ready=True)
    machines.all |= {each.native_id: each for each in (FOREIGN, other)}
    fleet = fleet_over(machines)
    assert await fleet.instances() == []
    await fleet.release(["m99", "m98"])
    assert machines.alive == [FOREIGN, other]


async def test_fewer_are_returned_when_there_are_no_more():
    fleet = fleet_over(cloud(None, None, Fault.NO_CAPACITY), calls_max=1)
    assert len(await fleet.provision("small", 4, "t1")) == 2


async def test_after_a_no_nobody_is_asked_again():
    machines = cloud(Fault.THROTTLED, Fault.THROTTLED)
    with pytest.raises(Unavailable):
        await fleet_over(machines, calls_max=1).provision("small", 5, "t1")
    assert list(machines.faults) == [Fault.THROTTLED]
    assert not machines.all


async def test_no_capacity_at_all_is_told_with_the_time_to_ask_again():
    fleet = fleet_over(cloud(Fault.NO_CAPACITY))
    with pytest.raises(NoCapacity, match="there is no more") as caught:
        await fleet.provision("small", 1, "t1")
    assert caught.value.retry_after_s == 60.0
    assert await fleet.instances() == []


async def test_a_half_known_outcome_is_an_error_until_the_token_is_repeated():
    machines = cloud(None, Fault.ERROR)
    fleet = fleet_over(machines, calls_max=1)
    with pytest.raises(Unavailable, match="not made"):
        await fleet.provision("small", 2, "t1")
    assert len(machines.alive) == 1
    assert len(await fleet.provision("small", 2, "t1")) == 2
    assert len(machines.alive) == 2


async def test_what_was_made_for_a_token_is_not_refused_when_there_is_no_room_for_the_rest():
    machines = cloud(None, Fault.ERROR)
    fleet = fleet_over(machines, calls_max=1)
    with pytest.raises(Unavailable):
        await fleet.provision("big-2", 2, "t1")
    await fleet.provision("big-2", 1, "t2")
    assert len(await fleet.provision("big-2", 2, "t1")) == 1


async def test_a_lost_answer_is_found_in_the_list():
    machines = cloud(Fault.LOST)
    assert nodes(await fleet_over(machines).provision("small", 1, "t1")) == ["hal-small-0"]
    assert len(machines.alive) == 1


async def test_a_list_that_lags_behind_takes_nothing_away():
    machines = cloud()
    fleet = fleet_over(machines)
    made = await fleet.provision("small", 2, "t1")
    machines.unlisted = {made[0].native_id, made[1].native_id}
    assert await fleet.instances() == made
    assert await fleet.provision("small", 2, "t1") == made
    assert len(machines.alive) == 2


async def test_of_two_machines_with_one_name_the_later_is_ended():
    """An answer was lost, the list lagged, the daemon crashed and its heir asked again: this cannot be prevented."""
    machines = cloud(Fault.LOST)
    machines.unlisted = {"m1"}
    with pytest.raises(Unavailable):
        await fleet_over(machines).provision("small", 1, "t1")
    heir = fleet_over(machines)
    assert len(await heir.provision("small", 1, "t1")) == 1
    assert len(machines.alive) == 2
    machines.unlisted = set()
    assert [instance.native_id for instance in await heir.instances()] == ["m1"]
    assert [machine.native_id for machine in machines.alive] == ["m1"]


async def test_two_tokens_whose_machines_took_the_same_slot_are_told_apart():
    """The list did not show the first one, of which there was no answer; its slot seemed free."""
    machines = cloud(Fault.LOST)
    machines.lists_nothing = True
    fleet = fleet_over(machines)
    with pytest.raises(Unavailable):
        await fleet.provision("small", 1, "t1")
    await fleet.provision("small", 1, "t2")
    machines.lists_nothing = False
    assert [instance.native_id for instance in await fleet.instances()] == ["m1"]
    assert [machine.native_id for machine in machines.alive] == ["m1"]


async def test_a_token_never_has_more_than_it_asked_for_in_the_end():
    machines = cloud(Fault.LOST)
    machines.lists_nothing = True
    fleet = fleet_over(machines)
    with pytest.raises(Unavailable):
        await fleet.provision("small", 1, "t1")
    await fleet.provision("small", 1, "t2")
    await fleet.provision("small", 1, "t1")
    machines.lists_nothing = False
    assert [instance.native_id for instance in await fleet.provision("small", 1, "t1")] == ["m1"]


async def test_a_list_that_has_lost_everything_is_an_error_and_no_fact():
    machines = cloud()
    await fleet_over(machines).provision("small", 2, "t1")
    fleet = fleet_over(machines)
    made = await fleet.instances()
    machines.lists_nothing = True
    for _ in range(3):
        with pytest.raises(
            PluginError, match=r"does not list 2 machines that it has made \(hal-small-0, hal-small-1\)"
        ):
            await fleet.instances()
        with pytest.raises(PluginError):
            await fleet.provision("small", 1, "t2")
    assert len(machines.alive) == 2
    await fleet.release([instance.native_id for instance in made])
    assert await fleet.instances() == []
    assert machines.alive == []


async def test_one_of_several_that_is_gone_is_a_fact():
    machines = cloud()
    fleet = fleet_over(machines)
    made = await fleet.provision("small", 2, "t1")
    await fleet.instances()
    machines.unlisted = {made[0].native_id}
    assert await fleet.instances() == made[1:]


async def test_one_that_ended_by_itself_is_not_made_again_for_its_token():
    machines = cloud()
    fleet = fleet_over(machines)
    (made,) = await fleet.provision("small", 1, "t1")
    machines.destroy(made.native_id)
    assert await fleet.instances() == []
    assert await fleet.provision("small", 1, "t1") == []
    assert len(await fleet.provision("small", 1, "t2")) == 1


class SlowMachines(FakeMachines):
    """A creation waits until it is let go."""

    def __init__(self):
        super().__init__([SMALL])
        self.go, self.began, self.ended = threading.Event(), threading.Event(), threading.Event()

    def create(self, offer, name):
        self.began.set()
        assert self.go.wait(60)
        try:
            return super().create(offer, name)
        finally:
            self.ended.set()


async def test_what_is_still_under_way_is_not_ordered_again():
    machines = SlowMachines()
    fleet = fleet_over(machines)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.provision, "small", 1, "t1")
        await trio.to_thread.run_sync(machines.began.wait, 60)
        nursery.cancel_scope.cancel()
    with pytest.raises(Unavailable, match="an earlier call for the same machines has not ended"):
        await fleet.provision("small", 1, "t1")
    machines.go.set()
    await trio.to_thread.run_sync(machines.ended.wait, 60)
    with trio.fail_after(60):
        while not (made := await provisioned(fleet)):
            await trio.lowlevel.checkpoint()
    assert nodes(made) == ["hal-small-0"]
    assert len(machines.alive) == 1


async def provisioned(fleet):
    try:
        return await fleet.provision("small", 1, "t1")
    except Unavailable:  # The thread has made it, and has yet to say so.
        return []


async def test_no_answer_in_time_is_said_and_cancels_nothing_else():
    machines = SlowMachines()
    fleet = fleet_over(machines, call_s=0.05)
    with pytest.raises(Unavailable, match=r"no answer within 0\.05 s"):  # On a busy machine it is another call's.
        await fleet.provision("small", 1, "t1")
    machines.go.set()


async def test_a_call_that_never_began_never_begins():
    machines = cloud()
    fleet = fleet_over(machines)
    with trio.CancelScope() as scope:
        scope.cancel()
        await fleet.provision("small", 1, "t1")
    assert not machines.all
    assert len(await fleet.provision("small", 1, "t1")) == 1


async def test_a_failing_end_does_not_keep_the_others():
    class Stubborn(FakeMachines):
        def destroy(self, native_id):
            if native_id == "m1":
                raise Unavailable("m1 does not answer")
            super().destroy(native_id)

    machines = Stubborn([SMALL])
    fleet = fleet_over(machines)
    made = await fleet.provision("small", 3, "t1")
    with pytest.raises(Unavailable, match="m1 does not answer"):
        await fleet.release([instance.native_id for instance in made])
    assert [machine.native_id for machine in machines.alive] == ["m1"]
    assert len(await fleet.instances()) == 1


async def test_a_bug_of_the_plugin_is_its_error():
    class Broken(FakeMachines):
        def list(self):
            raise KeyError("what")

    with pytest.raises(PluginError, match="list: KeyError: 'what'"):
        await fleet_over(Broken([SMALL])).instances()


async def test_unknown_offers_are_named():
    with pytest.raises(NotFound, match="did you mean 'small'"):
        await fleet_over(cloud()).provision("smal", 1, "t1")


def test_an_answer_that_names_another_machine_is_an_error():
    with pytest.raises(PluginError, match="asked for a machine named hal-"):
        Sightings("hal", 1.0).made(FOREIGN, 0.0)


def test_what_was_made_and_never_listed_is_lost_when_the_list_has_had_its_time():
    sightings = Sightings("hal", settle_s=60.0)
    machine = Machine("m1", str(MachineName("hal", "small", 0, digest_of("t"))), is_ready=False)
    sightings.made(machine, 100.0)
    assert len(sightings.look([], 159.0).there) == 1
    with pytest.raises(PluginError):
        sightings.look([], 160.0)
    assert len(sightings.look([machine], 161.0).there) == 1


def test_a_list_that_never_shows_what_was_made_is_cut_off():
    sightings = Sightings("hal", settle_s=60.0)
    shown, missing = (
        Machine(f"m{slot}", str(MachineName("hal", "small", slot, digest_of("t"))), is_ready=False) for slot in (0, 1)
    )
    sightings.made(missing, 0.0)
    assert len(sightings.look([shown], 59.0).there) == 2
    with pytest.raises(PluginError, match="does not list 1 machines"):
        sightings.look([shown], 60.0)
    sightings.ended("m1", 61.0)
    assert len(sightings.look([shown], 62.0).there) == 1


def test_what_was_ended_and_is_listed_still_comes_back_when_the_list_has_had_its_time():
    sightings = Sightings("hal", settle_s=60.0)
    machine = Machine("m1", str(MachineName("hal", "small", 0, digest_of("t"))), is_ready=False)
    sightings.look([machine], 0.0)
    sightings.ended("m1", 1.0)
    assert sightings.look([machine], 60.0).there == ()
    assert len(sightings.look([machine], 61.0).there) == 1, "an end that was accepted and not carried out"


@pytest.mark.parametrize(
    "text", ["", "hal", "hal-small-0", "hal-small-x-0123456789ab", "hal-small-0-0123456789AB", "vm-1"]
)
def test_names_of_others_are_not_read(text):
    assert MachineName.parse(text) is None


def test_names_are_labels_and_are_read_back():
    longest = MachineName("a" * 20, "b" * 20, 9999, digest_of("t"))
    assert len(str(longest)) <= 63
    assert MachineName.parse(str(longest)) == longest
    assert MachineName.parse("hal-big-2-0-0123456789ab") == MachineName("hal", "big-2", 0, "0123456789ab")


@pytest.mark.parametrize("prefix", ["", "Hal", "a-b", "9a", "a" * 21])
def test_a_prefix_cannot_be_the_beginning_of_another(prefix):
    with pytest.raises(InvalidInput, match="expected a letter"):
        structure_options(FleetOptions, {"name_prefix": prefix})
