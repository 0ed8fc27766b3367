"""Reservations as the state keeps them, and what people ask of them: add, remove. See models/reservation.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from hal_core.errors import Conflict, InvalidInput, NotFound, Problem, Refused, did_you_mean
from hal_core.models.event import Event, ReservationAdded, ReservationRemoved
from hal_core.models.job import JobSpec, Owner
from hal_core.models.message import AddReservation, RemoveReservation
from hal_core.models.moment import moment
from hal_core.models.node import NodeName, Partition, Reservation
from hal_core.models.rented import NOTHING_RENTED, Rented
from hal_core.models.reservation import NO_HOLDS, Holds, first_conflict

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State

RESERVATIONS_MAX = 1000
JOBS_NAMED = 5


class Reservations:
    """Those of the configuration and those that operators made, by name; `holds` is what an engine sees of them."""

    def __init__(self) -> None:
        self.by_name: dict[str, Reservation] = {}
        self.holds: Holds = NO_HOLDS
        self._number_of: Mapping[NodeName, int] = {}
        self._rented = NOTHING_RENTED

    @property
    def made(self) -> tuple[Reservation, ...]:
        """Those that operators made."""
        return tuple(each for each in self.by_name.values() if each.by)

    def define(self, configured: Iterable[Reservation], number_of: Mapping[NodeName, int]) -> None:
        """These stand in the configuration from now on. A name that an operator had used means what is written."""
        self._number_of = number_of
        self.by_name = {each.name: each for each in (*self.made, *configured)}
        self._look()

    def restore(self, made: Iterable[Reservation]) -> None:
        """Those that a dump holds."""
        self.by_name.update((each.name, each) for each in made)
        self._look()

    def apply(self, event: ReservationAdded | ReservationRemoved) -> None:
        """Fold one event. Those that are over go with the next change."""
        if isinstance(event, ReservationRemoved):
            del self.by_name[event.name]
        else:
            self.by_name[event.reservation.name] = event.reservation
        for each in self.made:
            if each.is_over(event.time_s):
                del self.by_name[each.name]
        self._look()

    def rent(self, rented: Rented) -> None:
        """These nodes are rented from now on, and no others."""
        if rented is not self._rented:
            self._rented = rented
            self._look()

    def _look(self) -> None:
        has_any = self.by_name or self._rented
        self.holds = Holds(self.by_name.values(), self._number_of, self._rented) if has_any else NO_HOLDS

    def problems(self, spec: JobSpec, owner: Owner, now_s: float) -> list[Problem]:
        """Why such a job cannot use the reservation that it names."""
        if not spec.reservation:
            return []
        found = self.by_name.get(spec.reservation)
        if found is None or found.is_over(now_s):
            hint = did_you_mean(spec.reservation, self.by_name)
            return [Problem("reservation", f"there is no reservation {spec.reservation!r}{hint}; see `hal reserve ls`")]
        if not found.admits(owner.user, spec.account):
            who = ", ".join((*found.users, *(f"account {name}" for name in found.accounts))) or "maintenance, nobody"
            text = f"reservation {found.name} is not for {owner.user}; it is for: {who}"
            return [Problem("reservation", text)]
        if spec.walltime_s is None or spec.walltime_s > found.duration_s:
            text = f"reservation {found.name} lasts {found.duration_s:.0f} s; give a time limit that is not longer"
            return [Problem("reservation", text)]
        return []


def add_or_remove(state: State, message: AddReservation | RemoveReservation, now_s: float) -> list[Event]:
    return add(state, message, now_s) if isinstance(message, AddReservation) else remove(state, message, now_s)


def add(state: State, message: AddReservation, now_s: float) -> list[Event]:
    """Keep nodes from then on. What runs there now must be over by then, as far as limits say, unless it is ignored."""
    wanted = message.reservation
    known = state.reservations.by_name
    if wanted.name in known:
        raise Conflict(f"there is a reservation {wanted.name!r} already; remove it first, or choose another name")
    if len(known) >= RESERVATIONS_MAX:
        raise Refused(f"there are {len(known)} reservations, and no more than {RESERVATIONS_MAX} are allowed")
    window = wanted.window_at(now_s)
    if window is None:
        raise InvalidInput([Problem("start", "the reservation would be over already; give a later start")])
    number_of = state.table.number_of
    unknown = [name for name in wanted.nodes if name not in number_of]
    if unknown:
        hint = did_you_mean(unknown[0], number_of)
        raise NotFound(f"no node named {unknown[0]!r}{hint}")
    if message.node_count:
        wanted = attrs.evolve(wanted, nodes=_chosen(state, message, max(window[0], now_s)))
    if not wanted.is_maintenance:
        _insist_on_no_conflict(wanted, known.values(), now_s)
    if not message.does_ignore_jobs:
        _insist_on_no_jobs(state, wanted, max(window[0], now_s))
    return [ReservationAdded(now_s, wanted)]


def remove(state: State, message: RemoveReservation, now_s: float) -> list[Event]:
    found = state.reservations.by_name.get(message.name)
    if found is None:
        hint = did_you_mean(message.name, state.reservations.by_name)
        raise NotFound(f"there is no reservation {message.name!r}{hint}")
    if not found.by:
        raise Refused(f"reservation {found.name!r} stands in the configuration; take it out there")
    return [ReservationRemoved(now_s, found.name, message.by)]


def _chosen(state: State, message: AddReservation, start_s: float) -> tuple[NodeName, ...]:
    """So many nodes of the partition: free of other reservations, then the emptiest by then."""
    wanted, table = message.reservation, state.table
    partition = state.partitions.get(message.partition) if message.partition else _default_partition(state)
    if partition is None:
        hint = did_you_mean(message.partition or "", state.partitions)
        raise InvalidInput([Problem("partition", f"no partition named {message.partition!r}{hint}")])
    others = list(state.reservations.by_name.values())
    found: list[tuple[int, int, NodeName]] = []
    for number in state.partition_numbers[partition.name]:
        name = table.nodes[number].name
        alone = attrs.evolve(wanted, nodes=(name,))
        if table.drain[number] is not None or any(first_conflict(alone, each, start_s) is not None for each in others):
            continue
        late = len(_late_on(state, name, start_s))
        if not late or message.does_ignore_jobs:
            found.append((late, number, name))
    if len(found) < message.node_count:
        text = f"{len(found)} nodes of partition {partition.name} can be kept from then on, {message.node_count} asked"
        raise Refused(f"{text}; choose fewer, a later start, or --ignore-jobs")
    return tuple(name for _, _, name in sorted(found)[: message.node_count])


def _default_partition(state: State) -> Partition | None:
    return next((each for each in state.partitions.values() if each.is_default), None)


def _late_on(state: State, node: NodeName, start_s: float) -> list[Activity]:
    """What runs on the node and may still run then."""
    return [each for each in state.on_node.get(node, {}).values() if each.limit_time_s > start_s]


def _insist_on_no_conflict(wanted: Reservation, known: Iterable[Reservation], now_s: float) -> None:
    for other in known:
        time_s = first_conflict(wanted, other, now_s)
        if time_s is not None:
            both = sorted(set(wanted.nodes) & set(other.nodes))[:JOBS_NAMED]
            text = f"reservation {other.name} holds {', '.join(both)} too, first at {moment(time_s)}"
            raise Conflict(f"{text}; choose other nodes or another time")


def _insist_on_no_jobs(state: State, wanted: Reservation, start_s: float) -> None:
    late = {each.record.job_id: each for node in wanted.nodes for each in _late_on(state, node, start_s)}
    if late:
        names = ", ".join(str(job_id) for job_id in sorted(late)[:JOBS_NAMED])
        more = f" and {len(late) - JOBS_NAMED} more" if len(late) > JOBS_NAMED else ""
        text = f"jobs that may still run there then: {names}{more}"
        raise Conflict(f"{text}; choose a later start or other nodes, or let them run with --ignore-jobs")
