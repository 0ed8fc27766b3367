"""What is known of a fleet's machines against what their provider lists. Pure: the time is an argument.

A list may lag behind by `settle_s`, and it may be wrong altogether: one that shows none of the machines that were there
is an error, for a filter, a permission or a parser that fails looks just like that. So is one that has never shown what
was made here: it may be cut off after its first page. What is really gone is forgotten by releasing it, which
whoever hears nothing of a node any more will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from hal_core.errors import PluginError
from hal_core.fleet.machines import Machine, MachineName
from hal_core.models.node import NodeName


@attrs.frozen
class Sighted:
    """One machine of the fleet, with its name as read."""

    machine: Machine
    name: MachineName


@attrs.frozen
class View:
    """What there is, as far as can be told. `surplus`: machines whose node an earlier one in `there` is already."""

    there: tuple[Sighted, ...]
    over: tuple[Sighted, ...]
    surplus: tuple[Sighted, ...]

    def of(self, offer: str, digest: str) -> list[Sighted]:
        """All that were made for one token, those that have ended too."""
        return [each for each in self.there + self.over if (each.name.offer, each.name.digest) == (offer, digest)]

    def slots(self, offer: str) -> set[int]:
        return {each.name.slot for each in self.there if each.name.offer == offer}


def age(each: Sighted) -> tuple[str, str]:
    """What orders machines from the oldest on."""
    return each.machine.created, each.machine.native_id


class Sightings:
    """The memory of one fleet. Times are of one clock, in seconds."""

    def __init__(self, prefix: str, settle_s: float) -> None:
        self._prefix = prefix
        self._settle_s = settle_s
        self._there: dict[str, Sighted] = {}
        self._made_s: dict[str, float] = {}
        """Only of machines that were made here and have not been listed yet."""
        self._leaving_s: dict[str, float] = {}

    def __contains__(self, native_id: str) -> bool:
        return native_id in self._there

    def made(self, machine: Machine, now_s: float) -> Sighted:
        """The answer to a creation. Raises PluginError if it is not one of ours."""
        for sighted in self._ours([machine]):
            self._there[machine.native_id] = sighted
            self._made_s[machine.native_id] = now_s
            return sighted
        raise PluginError(f"asked for a machine named {self._prefix}-..., the provider answers with {machine.name!r}")

    def ended(self, native_id: str, now_s: float) -> None:
        """Its end was ordered, and accepted."""
        self._there.pop(native_id, None)
        self._made_s.pop(native_id, None)
        self._leaving_s[native_id] = now_s

    def look(self, listed: Sequence[Machine], now_s: float) -> View:
        """Take in a list. Raises PluginError if it is not believed; then nothing is changed."""
        ours = self._ours(listed)
        ids = {each.machine.native_id for each in ours}
        fresh = [self._there[each] for each, made_s in self._made_s.items() if now_s - made_s < self._settle_s]
        expected = {each.machine.native_id: each for each in fresh if each.machine.native_id not in ids}
        lost = [each for native_id, each in self._there.items() if native_id not in ids | expected.keys()]
        if lost and (not ours or any(each.machine.native_id in self._made_s for each in lost)):
            names = ", ".join(sorted(each.name.node for each in lost)[:5]) + (", ..." if len(lost) > 5 else "")
            raise PluginError(
                f"the provider does not list {len(lost)} machines that it has made ({names}): that is not "
                "believed. Look at its console and at the rights of the credentials; what is really gone: release it"
            )
        self._leaving_s = {each: at_s for each, at_s in self._leaving_s.items() if now_s - at_s < self._settle_s}
        over = tuple(each for each in ours if each.machine.is_over)
        alive = [each for each in ours if not each.machine.is_over and each.machine.native_id not in self._leaving_s]
        there, surplus = _first_of_each_node([*alive, *expected.values()])
        self._there = {each.machine.native_id: each for each in (*there, *surplus)}
        self._made_s = {each: self._made_s[each] for each in expected}
        return View(tuple(there), over, tuple(surplus))

    def _ours(self, machines: Iterable[Machine]) -> list[Sighted]:
        named = ((machine, MachineName.parse(machine.name)) for machine in machines)
        return [Sighted(machine, name) for machine, name in named if name is not None and name.prefix == self._prefix]


def _first_of_each_node(machines: Iterable[Sighted]) -> tuple[list[Sighted], list[Sighted]]:
    """(the earliest that is each node, by offer and slot; the others)."""
    in_order = sorted(machines, key=age)
    first: dict[NodeName, Sighted] = {}
    others = [each for each in in_order if first.setdefault(each.name.node, each) is not each]
    return sorted(first.values(), key=lambda each: (each.name.offer, each.name.slot)), others
