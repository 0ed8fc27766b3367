"""The pools' shell: asks clouds for what the journal says was decided, and tells the core what came of it.

It decides nothing. One task has each pool's rule asked when something has happened, or when the rule said so
(`DecidePool`). One for each cloud reads from the state what is outstanding: requests without an answer, instances to be
ended, leases to be told. All of it is on disk before it is asked, is asked in the background with a deadline, and again
until there is an answer; so a crash at any point loses nothing, and nothing is asked that the journal does not know of.
A list that fails, or that came from before an instance was made, says nothing of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

import trio

from hal_core.errors import HalError, NoCapacity, PluginError, Unavailable, UserError
from hal_core.kernel.walls import passes
from hal_core.models.message import (
    Answer,
    DecidePool,
    InstancesEnded,
    InstancesMade,
    MadeInstance,
    Message,
    ProvisionFailed,
)
from hal_core.models.node import NodeName
from hal_core.models.pool_decision import InstanceState
from hal_core.planes import CloudProvider, Instance
from hal_core.rules.pool_ledger import Request
from hal_core.rules.pool_nodes import is_up
from hal_core.rules.state import State

logger = logging.getLogger("hal.renting")

DECIDE_S: Final = 1.0
"""Between two decisions at least: what comes in a burst is looked at together."""
LOOK_AGAIN_S: Final = 600.0
"""And at most, while anything waits or is there."""
RETRY_S: Final = 15.0
"""A call that failed is made again after so long, or later if the provider says so."""
CALL_S: Final = 600.0
"""No answer by then is none. A provider that makes many machines needs minutes."""
LIST_S, LIST_IDLE_S, LIST_SOON_S = 60.0, 900.0, 10.0
"""How often to look at what there is: with instances, without any, and when a node of one is out of contact."""


class RunningKernel(Protocol):
    """The kernel, as far as it is needed here."""

    @property
    def state(self) -> State: ...

    @property
    def durable_sequence(self) -> int: ...

    async def ask(self, message: Message) -> Answer: ...

    async def report(self, message: Message) -> None: ...

    async def settled(self) -> None: ...

    async def wait_beyond(self, sequence: int) -> None: ...


Tell = Callable[[NodeName, float], None]
"""Until when a node is paid for, in seconds from now; infinity: it is no rented one any more."""
Revoke = Callable[[NodeName], Awaitable[None]]
"""What the node's machine can show is void from now on."""


class Renting:
    """All pools and their clouds."""

    def __init__(
        self,
        kernel: RunningKernel,
        clouds: Mapping[str, CloudProvider],
        now_s: Callable[[], float],
        tell: Tell,
        revoke: Revoke,
    ) -> None:
        self._kernel = kernel
        self._now_s = now_s
        self._tell = tell
        self._told: dict[str, float] = {}
        self._clouds = [Rental(name, provider, kernel, revoke) for name, provider in clouds.items()]

    async def run(self) -> None:
        """Until cancelled; without pools nothing is done, and nothing wakes with every event."""
        if not self._kernel.state.pools:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._decide)
            nursery.start_soon(self._tell_leases)
            for each in self._clouds:
                nursery.start_soon(each.run)

    async def _decide(self) -> None:
        while True:
            wake_s, sequence = math.inf, self._kernel.durable_sequence
            for name in list(self._kernel.state.pools.pools):
                try:
                    answer = await self._kernel.ask(DecidePool(name))
                except Unavailable as error:
                    logger.info("pool %s is looked at later: %s", name, error)
                    answer = self._now_s() + error.retry_after_s
                wake_s = min(wake_s, answer if isinstance(answer, float) else math.inf)
            await trio.sleep(DECIDE_S)
            with trio.move_on_after(max(0.0, min(wake_s - self._now_s(), LOOK_AGAIN_S))):
                await self._kernel.wait_beyond(sequence)

    async def _tell_leases(self) -> None:
        """At the start each is told; then those that changed."""
        while True:
            sequence = self._kernel.durable_sequence
            there = {each.node: each.until_s for _, each in self._kernel.state.pools.kept() if each.node}
            for node, until_s in there.items():
                if self._told.get(node) != until_s:
                    self._tell(NodeName(node), until_s - self._now_s())
            for node in self._told.keys() - there.keys():
                self._tell(NodeName(node), math.inf)
            self._told = there
            await self._kernel.wait_beyond(sequence)


class Rental:
    """What is outstanding at one cloud."""

    def __init__(self, name: str, provider: CloudProvider, kernel: RunningKernel, revoke: Revoke) -> None:
        self._name = name
        self._provider = provider
        self._kernel = kernel
        self._revoke = revoke
        self._under_way: set[str] = set()
        self._not_before_s: dict[str, float] = {}
        """By call: after a failure. On trio's clock."""
        self._list_s = -math.inf
        self._has_changed = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                sequence = self._kernel.durable_sequence
                calls = self._outstanding()
                try:
                    await self._kernel.settled()
                except Unavailable:  # what was applied never happened: look again at what did
                    await trio.sleep(RETRY_S)
                    continue
                for key, call in calls.items():
                    self._under_way.add(key)
                    nursery.start_soon(self._carry_out, key, call)
                await self._something(sequence)

    async def _something(self, sequence: int) -> None:
        """Until an event, the end of a call, or the time of one that failed."""
        self._has_changed = changed = trio.Event()
        times = [at_s for key, at_s in self._not_before_s.items() if key != "list" and key not in self._under_way]
        times.append(self._next_list_s())
        with trio.move_on_at(max(min(times), trio.current_time())):
            async with trio.open_nursery() as nursery:

                async def until(wait: Callable[[], Awaitable[None]]) -> None:
                    await wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until, partial(self._kernel.wait_beyond, sequence))
                nursery.start_soon(until, changed.wait)

    # -- what is outstanding -------------------------------------------------------------------------------------------

    def _outstanding(self) -> dict[str, Callable[[], Awaitable[float]]]:
        """Each call by its name, without those that are under way or failed a moment ago."""
        calls: dict[str, Callable[[], Awaitable[float]]] = {}
        for kept in self._kernel.state.pools.pools.values():
            if kept.pool.cloud != self._name:
                continue
            pool, ledger = kept.pool.name, kept.ledger
            for request in ledger.requests.values():
                mine = [each for each in ledger.instances.values() if each.token == request.token]
                is_wanted = any(each.state is not InstanceState.RELEASING for each in mine)
                price = max((each.price_per_hour for each in mine), default=0.0)
                call = (
                    partial(self._provision, pool, request, price) if is_wanted else partial(self._undo, pool, request)
                )
                calls[f"request {request.token}"] = call
            for each in ledger.instances.values():
                if each.state is InstanceState.RELEASING and each.native_id:
                    calls[f"end {each.name}"] = partial(self._end, pool, each.name, each.node, each.native_id)
        calls["list"] = self._list
        self._not_before_s = {key: at_s for key, at_s in self._not_before_s.items() if key in calls}
        return {key: call for key, call in calls.items() if self._is_due(key)}

    def _is_due(self, key: str) -> bool:
        if key in self._under_way or trio.current_time() < self._not_before_s.get(key, -math.inf):
            return False
        return key != "list" or trio.current_time() >= self._next_list_s()

    def _next_list_s(self) -> float:
        if "list" in self._under_way:
            return math.inf
        state = self._kernel.state
        nodes = [each.node for kept, each in state.pools.kept() if kept.pool.cloud == self._name]
        suspects = {state.table.nodes[number].name for number in state.table.suspects}
        pause_s = LIST_SOON_S if suspects & set(nodes) else LIST_S if nodes else LIST_IDLE_S
        return max(self._list_s + pause_s, self._not_before_s.get("list", -math.inf))

    async def _carry_out(self, key: str, call: Callable[[], Awaitable[float]]) -> None:
        """A call returns after how many seconds it is to be made again, if it is still outstanding then."""
        try:
            retry_s = await call()
            if retry_s:
                self._not_before_s[key] = trio.current_time() + retry_s
            else:
                self._not_before_s.pop(key, None)
        finally:
            self._under_way.discard(key)
            self._has_changed.set()

    # -- calls ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _wall(self) -> Iterator[None]:
        """Around a call to the provider: it takes no longer than CALL_S, and whatever else the plugin raises than HAL's
        own errors is logged, and a PluginError."""
        try:
            with trio.fail_after(CALL_S):
                yield
        except (HalError, trio.TooSlowError):
            raise
        except BaseException as error:
            if passes(error):
                raise
            logger.exception("cloud %s failed", self._name)
            raise PluginError(f"the cloud's plugin failed: {error!r}") from error

    async def _provision(self, pool: str, request: Request, price_per_hour: float) -> float:
        """Repeated with the same token until there is an answer: there are no more instances of it for that."""
        is_certain, retry_s = False, RETRY_S
        try:
            with self._wall():
                await self._insist_on_price(request.offer, price_per_hour)
                made = await self._provider.provision(request.offer, request.count, request.token)
            if made:
                await self._kernel.report(InstancesMade(pool, request.token, _made(made)))
                return 0.0
            detail, is_certain = "the cloud has none now", True
        except (UserError, NoCapacity) as error:
            detail, is_certain, retry_s = str(error), True, getattr(error, "retry_after_s", 0.0)
        except (HalError, trio.TooSlowError) as error:
            detail, retry_s = _text(error), max(RETRY_S, getattr(error, "retry_after_s", 0.0))
        logger.warning("pool %s: request %s: %s", pool, request.token, detail)
        await self._kernel.report(ProvisionFailed(pool, request.token, detail, is_certain, retry_s))
        return retry_s

    async def _insist_on_price(self, offer: str, price_per_hour: float) -> None:
        """A budget is counted in the prices of the configuration, so nothing may cost more. Raises Unavailable, for an
        earlier call may have made the instances when they cost less."""
        for each in await self._provider.offers():
            if each.name == offer and each.price_per_hour > price_per_hour * (1.0 + 1e-9):
                text = f"offer {offer} costs {each.price_per_hour:g} an hour, the configuration says {price_per_hour:g}"
                raise Unavailable(text, CALL_S)

    async def _undo(self, pool: str, request: Request) -> float:
        """Nobody wants them any more, and nobody knows whether they were made: none of this token is to be there."""
        try:
            with self._wall():
                made = await self._provider.provision(request.offer, 0, request.token)
        except (UserError, NoCapacity):
            made = ()
        except (HalError, trio.TooSlowError) as error:
            logger.warning("pool %s: request %s is not undone yet: %s", pool, request.token, _text(error))
            return RETRY_S
        await self._kernel.report(InstancesMade(pool, request.token, _made(made)))
        return 0.0

    async def _end(self, pool: str, name: str, node: str, native_id: str) -> float:
        """What it can show is void first, so that it cannot speak for the next machine that is this node."""
        try:
            with self._wall():
                await self._revoke(NodeName(node))
                await self._provider.release([native_id])
        except (HalError, trio.TooSlowError) as error:
            logger.warning("instance %s is not ended yet: %s", name, _text(error))
            return max(RETRY_S, getattr(error, "retry_after_s", 0.0))
        await self._kernel.report(InstancesEnded(pool, (name,), was_asked=True))
        return 0.0

    async def _list(self) -> float:
        """What the list lacks is gone; what nobody knows of is ended."""
        before, had_requests = self._known(), self._has_requests()
        self._list_s = trio.current_time()
        try:
            with self._wall():
                listed = await self._provider.instances()
        except (HalError, trio.TooSlowError) as error:
            logger.warning("cloud %s could not be looked at: %s", self._name, _text(error))
            return RETRY_S
        there = {each.native_id for each in listed}
        for native_id, (pool, name) in before.items():
            if native_id not in there and await self._is_void(pool, name):
                await self._kernel.report(InstancesEnded(pool, (name,), was_asked=False))
        unknown = sorted(there - before.keys() - self._known().keys())
        if unknown and not had_requests and not self._has_requests():
            logger.warning("cloud %s has instances that no pool knows of; ending %s", self._name, ", ".join(unknown))
            try:
                with self._wall():
                    await self._provider.release(unknown)
            except (HalError, trio.TooSlowError) as error:
                logger.warning("they are not ended yet: %s", _text(error))
                return RETRY_S
        return 0.0

    async def _is_void(self, pool: str, name: str) -> bool:
        """What a machine that is listed no more could show is void from now on. Not while its node is in contact: then
        the list is not believed."""
        state = self._kernel.state
        kept = state.pools.pools.get(pool)
        each = None if kept is None else kept.ledger.instances.get(name)
        if each is None or is_up(state, each.node):
            return False
        try:
            await self._revoke(NodeName(each.node))
        except HalError as error:
            logger.warning("instance %s is gone, and what it could show is not void yet: %s", name, _text(error))
            return False
        return True

    def _known(self) -> dict[str, tuple[str, str]]:
        """By native id: the pool and the instance."""
        return {
            each.native_id: (kept.pool.name, each.name)
            for kept, each in self._kernel.state.pools.kept()
            if kept.pool.cloud == self._name and each.native_id
        }

    def _has_requests(self) -> bool:
        pools = self._kernel.state.pools.pools.values()
        return any(each.ledger.requests for each in pools if each.pool.cloud == self._name)


def _made(instances: Sequence[Instance]) -> tuple[MadeInstance, ...]:
    return tuple(MadeInstance(each.native_id, each.node) for each in instances)


def _text(error: Exception) -> str:
    return str(error) or "no answer in time"
