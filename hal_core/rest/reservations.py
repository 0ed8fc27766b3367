"""Routes about reservations: list, show, make, remove. Times of a request are texts, as people write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, TypeVar

import attrs
from msgspec import Meta

from hal_core.errors import InvalidInput, NotFound, Problem, did_you_mean
from hal_core.models.message import AddReservation, RemoveReservation
from hal_core.models.node import NodeName, PartitionName, Reservation
from hal_core.parsing.durations import parse_interval
from hal_core.parsing.instants import parse_instant
from hal_core.parsing.names import parse_identifier, parse_line
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import EmptyRequest
from hal_core.rest.call import Call, Route
from hal_core.rest.rights import Verb

T = TypeVar("T")
Text = Annotated[str, Meta(max_length=1024)]
Names = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=100_000)]


@attrs.frozen(kw_only=True)
class ReservationRequest:
    """Either `nodes` by name, or `node_count` of them in `partition` (None: the default one), chosen by HAL."""

    name: Text
    start: Text
    """`now`, `now+1hour`, `16:30`, `2030-01-31T16:30:00Z`; without an offset as the daemon's clock shows it."""
    duration: Text
    """`2h`"""
    nodes: Names = ()
    node_count: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    partition: Text | None = None
    every: Text | None = None
    """From start to start: `1d`. None: once."""
    until: Text | None = None
    """No window begins at that time or later."""
    users: Names = ()
    accounts: Names = ()
    is_maintenance: bool = False
    """Nobody may run there then. Needed if there are neither users nor accounts, and only then."""
    comment: Text = ""
    does_ignore_jobs: bool = False
    """What runs there may run on into it."""


@attrs.frozen(kw_only=True)
class ReservationView:
    name: str
    nodes: tuple[NodeName, ...]
    users: tuple[str, ...]
    accounts: tuple[str, ...]
    is_maintenance: bool
    start_time_s: float | None
    """Of the window that holds now, or else of the next one; None if there is none any more."""
    end_time_s: float | None
    is_active: bool
    duration_s: float
    every_s: float
    until_s: float | None
    comment: str
    by: str
    """Empty if it stands in the configuration."""


@attrs.frozen
class ReservationsAnswer:
    reservations: list[ReservationView]
    sequence: int


@attrs.frozen
class ReservationRemovedAnswer:
    name: str


def view(found: Reservation, now_s: float) -> ReservationView:
    window = found.window_at(now_s)
    start_s, end_s = window or (None, None)
    return ReservationView(
        name=found.name,
        nodes=found.nodes,
        users=found.users,
        accounts=found.accounts,
        is_maintenance=found.is_maintenance,
        start_time_s=start_s,
        end_time_s=end_s,
        is_active=start_s is not None and start_s <= now_s,
        duration_s=found.duration_s,
        every_s=found.every_s,
        until_s=found.until_s,
        comment=found.comment,
        by=found.by,
    )


def reservation_of(body: ReservationRequest, by: str, now_s: float) -> Reservation:
    """What the request means. Raises InvalidInput with every problem."""
    reading = _Reading()
    zone = datetime.fromtimestamp(now_s).astimezone().tzinfo
    assert zone is not None, "astimezone gives one"
    name = reading.read("name", lambda: parse_identifier(body.name), "")
    start_s = reading.read("start", lambda: float(round(parse_instant(body.start, now_s, zone))), 0.0)
    duration_s = reading.read("duration", lambda: parse_interval(body.duration), 1.0)
    every_s = reading.read("every", lambda: parse_interval(body.every) if body.every else 0.0, 0.0)
    until_s = reading.read("until", lambda: parse_instant(body.until, now_s, zone) if body.until else None, None)
    comment = reading.read("comment", lambda: parse_line(body.comment) if body.comment else "", "")
    reading.insist(duration_s > 0, "duration", "a reservation of no time keeps nothing; give for example 2h")
    reading.insist(not every_s or every_s >= duration_s, "every", "the next one would begin before the last has ended")
    reading.insist(until_s is None or every_s > 0, "until", "only what recurs (every) has an end")
    reading.insist(bool(body.nodes) != bool(body.node_count), "nodes", "give either names of nodes or how many")
    reading.insist(len(set(body.nodes)) == len(body.nodes), "nodes", "a node is named twice")
    reading.insist(body.partition is None or body.node_count > 0, "partition", "it is only for a number of nodes")
    text = "give users, accounts, or maintenance; maintenance is for nobody"
    reading.insist(body.is_maintenance != bool(body.users or body.accounts), "users", text)
    for place, names in (("users", body.users), ("accounts", body.accounts)):
        for each in names:
            reading.read(place, partial(parse_identifier, each), "")
    if reading.problems:
        raise InvalidInput(reading.problems)
    nodes = tuple(NodeName(each) for each in body.nodes)
    return Reservation(
        name, nodes, start_s, duration_s, every_s, until_s, body.users, body.accounts, comment=comment, by=by
    )


class _Reading:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def read(self, place: str, parse: Callable[[], T], otherwise: T) -> T:
        try:
            return parse()
        except InvalidInput as error:
            self.problems += [Problem(each.place or place, each.text) for each in error.problems]
            return otherwise

    def insist(self, is_good: bool, place: str, text: str) -> None:
        if not is_good:
            self.problems.append(Problem(place, text))


def _find(call: Call) -> Reservation:
    call.caller.insist(Verb.SEE_NODES)
    known, name = call.context.kernel.state.reservations.by_name, call.path["name"][:80]
    found = known.get(name)
    if found is None:
        raise NotFound(f"there is no reservation {name!r}{did_you_mean(name, known)}")
    return found


async def list_reservations(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_NODES)
    state, now_s = call.context.kernel.state, call.context.now_s()
    found = [view(each, now_s) for _, each in sorted(state.reservations.by_name.items())]
    return json_answer(ReservationsAnswer(found, state.sequence))


async def show_reservation(call: Call) -> Answer:
    return json_answer(view(_find(call), call.context.now_s()))


async def add_reservation(call: Call) -> Answer:
    call.caller.insist(Verb.RESERVE)
    body: ReservationRequest = call.body
    now_s = call.context.now_s()
    wanted = reservation_of(body, call.caller.user, now_s)
    partition = None if body.partition is None else PartitionName(body.partition)
    await call.context.kernel.ask(AddReservation(wanted, body.node_count, partition, body.does_ignore_jobs))
    made = call.context.kernel.state.reservations.by_name.get(wanted.name, wanted)
    return json_answer(view(made, now_s), status=201)


async def remove_reservation(call: Call) -> Answer:
    call.caller.insist(Verb.RESERVE)
    found = _find(call)
    await call.context.kernel.ask(RemoveReservation(found.name, call.caller.user))
    return json_answer(ReservationRemovedAnswer(found.name))


ROUTES = (
    Route(
        method="GET",
        path="/v1/reservations",
        handler=list_reservations,
        summary="The reservations, with their current or next windows",
        answer=ReservationsAnswer,
    ),
    Route(
        method="POST",
        path="/v1/reservations",
        handler=add_reservation,
        summary="Keep nodes for some users or accounts, or for maintenance",
        body=ReservationRequest,
        answer=ReservationView,
        statuses=(201,),
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/v1/reservations/{name}",
        handler=show_reservation,
        summary="One reservation",
        answer=ReservationView,
    ),
    Route(
        method="POST",
        path="/v1/reservations/{name}/remove",
        handler=remove_reservation,
        summary="Give the nodes of a reservation back",
        body=EmptyRequest,
        answer=ReservationRemovedAnswer,
        reads_state=False,
    ),
)
