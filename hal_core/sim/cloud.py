"""A simulated cloud: prices, boot delays, capacity errors, interruptions and faults of its interface. No clock, no HAL.

It is what a provider is to HAL: it keeps what it was asked for by token, so that a request that is repeated brings no
second instance; it may do what it was told and not answer; and an instance ends by itself at the end of its lease,
as a real one shuts itself down. What it bills is the truth that HAL's own books are held against.
"""

from __future__ import annotations

import math
from enum import Enum
from heapq import heappop, heappush
from random import Random

import attrs

from hal_core.models.cloud_pool import HOUR_S


@attrs.frozen
class SimulatedOffer:
    """How one kind of node behaves. Shares are chances, each time that it could happen."""

    name: str
    price_per_hour: float
    boot_s: float
    boot_spread: float = 0.0
    """A boot takes up to this share longer, or shorter."""
    capacity: int = 1_000_000
    """So many there are at once, all requests together."""
    capacity_error_share: float = 0.0
    never_joins_share: float = 0.0
    interruptions_per_hour: float = 0.0


class CallAnswer(Enum):
    """What came of a call. UNKNOWN: an error, or a time-out; it may have been carried out all the same."""

    DONE = "done"
    NO_CAPACITY = "no capacity"
    UNKNOWN = "unknown"


@attrs.define
class Machine:
    """An instance as its provider knows it."""

    name: str
    offer: SimulatedOffer
    begin_s: float
    ready_s: float
    until_s: float
    interrupted_s: float
    end_s: float | None = None
    why_ended: str = ""

    def cost(self, until_s: float, from_s: float = -math.inf) -> float:
        """Within this stretch of time."""
        until_s = until_s if self.end_s is None else min(until_s, self.end_s)
        return self.offer.price_per_hour * max(0.0, until_s - max(self.begin_s, from_s)) / HOUR_S


class SimulatedCloud:
    """All offers of one provider. Time only goes on in `advance`."""

    def __init__(self, offers: tuple[SimulatedOffer, ...], random: Random, fault_share: float = 0.0) -> None:
        self.offers = {offer.name: offer for offer in offers}
        self.fault_share = fault_share
        self._names: set[str] = set()
        self._random = random
        self._tokens: dict[str, list[str]] = {}
        self.alive: dict[str, Machine] = {}
        self._changes: list[tuple[float, str]] = []
        """When an instance may change by itself. Some entries are out of date."""
        self.ended: list[Machine] = []
        self._billed = 0.0
        """For what has ended."""

    @property
    def begun_count(self) -> int:
        return len(self._names)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def provision(self, now_s: float, token: str, offer: str, count: int, until_s: float) -> CallAnswer:
        """All or none."""
        if self._fails():
            return CallAnswer.UNKNOWN
        if token not in self._tokens:
            kind = self.offers[offer]
            in_use = sum(machine.offer is kind for machine in self.alive.values())
            if in_use + count > kind.capacity or self._happens(kind.capacity_error_share):
                return CallAnswer.NO_CAPACITY
            self._tokens[token] = [self._begin(now_s, f"{token}-{n}", kind, until_s) for n in range(1, count + 1)]
        return CallAnswer.UNKNOWN if self._fails() else CallAnswer.DONE

    def extend(self, now_s: float, name: str, until_s: float) -> CallAnswer:
        """Tell the instance to end later."""
        if self._fails():
            return CallAnswer.UNKNOWN
        machine = self.alive.get(name)
        if machine is not None:
            machine.until_s = max(machine.until_s, until_s)
            heappush(self._changes, (machine.until_s, name))
        return CallAnswer.UNKNOWN if self._fails() else CallAnswer.DONE

    def release(self, now_s: float, name: str) -> CallAnswer:
        """End it. What is gone already is no error."""
        if self._fails():
            return CallAnswer.UNKNOWN
        if name in self.alive:
            self._end(name, now_s, "released")
        return CallAnswer.UNKNOWN if self._fails() else CallAnswer.DONE

    def list(self, now_s: float) -> dict[str, bool] | None:
        """Name -> whether it has joined. None: the call failed, which says nothing of what there is."""
        if self._fails():
            return None
        return {name: machine.ready_s <= now_s for name, machine in self.alive.items()}

    # -- the truth -----------------------------------------------------------------------------------------------------

    def advance(self, now_s: float) -> None:
        """Let end what ends by itself until then."""
        while self._changes and self._changes[0][0] <= now_s:
            _, name = heappop(self._changes)
            machine = self.alive.get(name)
            if machine is None:
                continue
            end_s = min(machine.until_s, machine.interrupted_s)
            if end_s <= now_s:
                self._end(name, end_s, "interrupted" if machine.interrupted_s <= machine.until_s else "lease over")

    def next_time_s(self) -> float:
        """When something may be seen that was not there before; infinity: never, unless somebody calls."""
        while self._changes and self._changes[0][1] not in self.alive:
            heappop(self._changes)
        return self._changes[0][0] if self._changes else math.inf

    def bill(self, now_s: float) -> float:
        """What was spent until now, on all there ever was."""
        return self._billed + math.fsum(machine.cost(now_s) for machine in self.alive.values())

    def _begin(self, now_s: float, name: str, offer: SimulatedOffer, until_s: float) -> str:
        assert name not in self._names, f"{name} was begun twice"
        self._names.add(name)
        spread = self._random.uniform(-offer.boot_spread, offer.boot_spread) if offer.boot_spread else 0.0
        ready_s = math.inf if self._happens(offer.never_joins_share) else now_s + offer.boot_s * (1.0 + spread)
        interrupted_s = math.inf
        if offer.interruptions_per_hour:
            interrupted_s = now_s + self._random.expovariate(offer.interruptions_per_hour / HOUR_S)
        self.alive[name] = Machine(name, offer, now_s, ready_s, until_s, interrupted_s)
        for time_s in (ready_s, until_s, interrupted_s):
            if time_s < math.inf:
                heappush(self._changes, (time_s, name))
        return name

    def _end(self, name: str, end_s: float, why: str) -> None:
        machine = self.alive.pop(name)
        machine.end_s, machine.why_ended = end_s, why
        self.ended.append(machine)
        self._billed += machine.cost(end_s)

    def _fails(self) -> bool:
        return self._happens(self.fault_share)

    def _happens(self, share: float) -> bool:
        return bool(share) and self._random.random() < share
