"""A cloud in memory behind `Machines`, with what goes wrong in real ones on demand. For fleets, and for their check."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from enum import Enum

import attrs

from hal_core.errors import NoCapacity, NotFound, Unavailable
from hal_core.fleet.bootstrap import Bootstrap
from hal_core.fleet.machines import Machine, MachineName
from hal_core.planes import Offer


class Fault(Enum):
    """What happens to a call."""

    LOST = "done, and the answer is lost"
    ERROR = "not done: an error of the server"
    THROTTLED = "not done: too many requests"
    NO_CAPACITY = "not done: there is no more"


class FakeMachines:
    """Ready at once. `faults` meet the next creations, in order; `unlisted` are there, but the list does not say so."""

    def __init__(self, offers: Sequence[Offer], faults: Sequence[Fault] = ()) -> None:
        self._offers = tuple(offers)
        self.faults = deque(faults)
        self.all: dict[str, Machine] = {}
        """Every machine that was ever made, by native id; those that have ended are over."""
        self.told: dict[str, Bootstrap | None] = {}
        """By the machine's name, what it was to be told."""
        self.unlisted: set[str] = set()
        self.lists_nothing = False
        self._lock = threading.Lock()

    @property
    def alive(self) -> list[Machine]:
        return [machine for machine in self.all.values() if not machine.is_over]

    def offers(self) -> Sequence[Offer]:
        return self._offers

    def list(self) -> Sequence[Machine]:
        with self._lock:
            return (
                []
                if self.lists_nothing
                else [each for each in self.all.values() if each.native_id not in self.unlisted]
            )

    def create(self, offer: str, name: MachineName, bootstrap: Bootstrap | None = None) -> Machine:
        with self._lock:
            self.told[str(name)] = bootstrap
            if offer not in {each.name for each in self._offers}:
                raise NotFound(f"no offer named {offer!r}")
            fault = self.faults.popleft() if self.faults else None
            if fault is Fault.NO_CAPACITY:
                raise NoCapacity(f"offer {offer!r}: there is no more", retry_after_s=60.0)
            if fault in (Fault.ERROR, Fault.THROTTLED):
                raise Unavailable(f"{fault.name.lower()}: not made", retry_after_s=5.0)
            number = len(self.all) + 1
            machine = Machine(f"m{number}", str(name), is_ready=True, created=f"{number:09}")
            self.all[machine.native_id] = machine
            if fault is Fault.LOST:
                raise Unavailable("the connection was closed", retry_after_s=5.0)
            return machine

    def destroy(self, native_id: str) -> None:
        with self._lock:
            if native_id in self.all:
                self.all[native_id] = attrs.evolve(self.all[native_id], is_over=True, is_ready=False)
