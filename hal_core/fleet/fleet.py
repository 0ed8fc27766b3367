"""CloudProvider over `Machines`: machines that are known only by what their provider lists.

Nothing is kept on disk. What a crashed daemon had ordered is found again by name (machines.py), so a repeated token
makes what is missing of its machines and nothing else. The list is asked before anything is made, and a machine whose
call may still be under way is not ordered again. What a list is worth is in sightings.py; if two machines are one
node in the end, the later one is ended. Never touches a machine that is not named by this fleet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import attrs
import trio

from hal_core.errors import HalError, NoCapacity, NotFound, Refused, Unavailable, UserError, did_you_mean
from hal_core.fleet.bootstrap import BootstrapSource
from hal_core.fleet.calls import Calls
from hal_core.fleet.machines import Machine, MachineName, Machines, check_name_prefix, digest_of
from hal_core.fleet.sightings import Sighted, Sightings, View, age
from hal_core.planes import Instance, Offer

T = TypeVar("T")


@attrs.frozen
class FleetOptions:
    """What a plugin passes on from its own options.

    `call_s`: for one answer. `settle_s`: how long the provider's list may lag behind. `calls_max`: at once.
    """

    name_prefix: str = attrs.field(validator=check_name_prefix)
    call_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    settle_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    calls_max: int = attrs.field(default=8, validator=attrs.validators.ge(1))


class Fleet:
    """A CloudProvider. One provision of an offer at a time: which slots are free is seen from what is there."""

    def __init__(self, machines: Machines, options: FleetOptions) -> None:
        self.bootstrap: BootstrapSource | None = None
        """What a machine is told to become a node; a daemon that rents fills it in."""
        self._machines = machines
        self._prefix = options.name_prefix
        self._calls_max = options.calls_max
        self._calls = Calls(options.calls_max, options.call_s)
        self._sightings = Sightings(options.name_prefix, options.settle_s)
        self._locks: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)
        self._under_way: set[MachineName] = set()
        """Being created in a thread that has not ended, whether somebody still waits for it or not."""

    async def offers(self) -> Sequence[Offer]:
        return await self._calls.call("offers", self._machines.offers)

    async def provision(self, offer: str, count: int, token: str) -> Sequence[Instance]:
        """Bring the machines of this token to `count`; fewer are returned if the provider had no more.

        There are more than `count` if the list did not show one in time, and its slot went to another token.
        """
        async with self._locks[offer]:
            found = await self._offer(offer)
            view = await self._look()
            mine = view.of(offer, digest := digest_of(token))
            names = self._new_names(found, digest, count - len(mine), view)
            made, failures = await _each(names, partial(self._create, offer), self._calls_max)
            mine += made
            if failures:
                mine = (await self._look()).of(offer, digest)
                if len(mine) < count:
                    _raise_unless_certain(failures)
                if not mine:
                    raise failures[0]
            alive = sorted((each for each in mine if not each.machine.is_over), key=age)
            await self._end([each.machine.native_id for each in alive[count:]])
            return [_instance(each) for each in sorted(alive[:count], key=_slot)]

    async def release(self, native_ids: Sequence[str]) -> None:
        """End these, as far as they are ours. What is gone, or was never ours, is left as it is."""
        if not all(each in self._sightings for each in native_ids):
            listed = await self._calls.call("list", self._machines.list)
            view = Sightings(self._prefix, 0.0).look(listed, 0.0)
            ours = {each.machine.native_id for each in view.there + view.surplus}
            native_ids = [each for each in native_ids if each in ours or each in self._sightings]
        await self._end(native_ids)

    async def instances(self) -> Sequence[Instance]:
        return [_instance(each) for each in (await self._look()).there]

    async def _offer(self, name: str) -> Offer:
        offers = {offer.name: offer for offer in await self.offers()}
        if name not in offers:
            known = ", ".join(offers) or "none"
            raise NotFound(f"no offer named {name!r}; there are: {known}{did_you_mean(name, offers)}")
        return offers[name]

    def _new_names(self, offer: Offer, digest: str, count: int, view: View) -> list[MachineName]:
        """For so many more, in the lowest free slots; first in those in which none has just ended."""
        under_way = [each for each in self._under_way if each.offer == offer.name]
        if any(each.digest == digest for each in under_way):
            raise Unavailable(f"offer {offer.name!r}: an earlier call for the same machines has not ended", 5.0)
        in_use = view.slots(offer.name) | {each.slot for each in under_way}
        is_begun = bool(view.of(offer.name, digest))  # Then a no would say that nothing was made: fewer are returned.
        if count > 0 and len(in_use) + count > offer.count_max and not is_begun:
            text = f"offer {offer.name!r}: {len(in_use)} of {offer.count_max} are in use, {count} more wanted"
            raise Refused(text)
        ended = {each.name.slot for each in view.over if each.name.offer == offer.name}
        free = sorted(set(range(offer.count_max)) - in_use, key=lambda slot: (slot in ended, slot))
        return [MachineName(self._prefix, offer.name, slot, digest) for slot in free[: max(0, count)]]

    async def _create(self, offer: str, name: MachineName) -> Sighted:
        def create() -> Machine:
            try:
                told = () if self.bootstrap is None else (self.bootstrap(name),)
                return self._machines.create(offer, name, *told)
            finally:
                self._under_way.discard(name)

        self._under_way.add(name)
        machine = await self._calls.call(f"create {name}", create, partial(self._under_way.discard, name))
        return self._sightings.made(machine, trio.current_time())

    async def _look(self) -> View:
        """What there is now. What is there twice is ended once."""
        listed = await self._calls.call("list", self._machines.list)
        view = self._sightings.look(listed, trio.current_time())
        await self._end([each.machine.native_id for each in view.surplus])
        return view

    async def _end(self, native_ids: Sequence[str]) -> None:
        """All that can be; then raises the first failure."""
        _, failures = await _each(native_ids, self._end_one, self._calls_max, does_stop=False)
        if failures:
            raise failures[0]

    async def _end_one(self, native_id: str) -> None:
        await self._calls.call(f"end {native_id}", partial(self._machines.destroy, native_id))
        self._sightings.ended(native_id, trio.current_time())


def _instance(each: Sighted) -> Instance:
    return Instance(each.machine.native_id, each.name.offer, each.name.node, each.machine.is_ready)


def _slot(each: Sighted) -> int:
    return each.name.slot


def _is_certain(failure: HalError) -> bool:
    """Whether nothing was made, for sure."""
    return isinstance(failure, UserError | NoCapacity)


def _raise_unless_certain(failures: Sequence[HalError]) -> None:
    for failure in failures:
        if not _is_certain(failure):
            raise failure


Item = TypeVar("Item")


async def _each(
    items: Sequence[Item], act: Callable[[Item], Awaitable[T]], count_max: int, does_stop: bool = True
) -> tuple[list[T], list[HalError]]:
    """Act on each, so many at once: (what was returned, what went wrong). With `does_stop`, what goes wrong for one is
    not tried for the next: a provider that throttles or has no more is not asked two hundred times."""
    done: list[T] = []
    failures: list[HalError] = []
    turn = trio.Semaphore(count_max)

    async def one(item: Item) -> None:
        async with turn:
            if does_stop and failures:
                return
            try:
                done.append(await act(item))
            except HalError as error:
                failures.append(error)

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(one, item)
    return done, failures
