"""What the bridge knows: which attempts are in Slurm, and what each answer of Slurm's means for them.

Pure: times and answers come as arguments, and what changed is returned, for the kernel to be told. Three rules keep it
true. A submission whose answer was lost is looked for by its name, and repeated only when Slurm, asked long enough
after it, does not know it. A record counts only if its name and its id are those of the submission, so an id that
Slurm gives out again is nobody else's end. An end is told once and never taken back.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from hal_core import (
    AttemptKey,
    End,
    EndKind,
    LaunchOrder,
    NodeName,
    PartStatus,
    QueuedStart,
    Spread,
    format_ranges,
    runs_of,
)
from hal_plugin_slurm.ends import ACTIVE, WAITING, end_of
from hal_plugin_slurm.ticket import Element, Over, Ticket
from hal_plugin_slurm.translate import CannotForward, marked_name, submission_of
from hal_plugin_slurm.usage import Used
from hal_plugin_slurm.way import SlurmJob, Submission, Target

Change = tuple[NodeName, PartStatus]
"""What to tell the kernel: a part on one of its nodes."""

MINUTE_S: Final = 60.0
REMEMBERED_S: Final = 240.0
"""slurmctld forgets a job that ended after MinJobAge, 300 s where nobody changed it: what it does not know so soon
after a submission was never taken."""
ACCOUNTING_AGAIN_S: Final = 60.0
LAUNCH_HELD: Final = "launch failed requeued held"
"""Slurm's reason for a job that it queued again, and holds for ever, after a launch of which it does not know whether
it ran: so it is after slurmctld was killed just when it had started the job."""
LOST: Final = "Slurm has no record of it any more"
NEVER_KNOWN: Final = "the answer to its submission was lost, and Slurm does not remember for so long whether it ran"


@attrs.frozen
class Patience:
    """`settle_s`: a request whose answer was lost may still arrive for so long. `vanish_s`: accounting may be behind
    by so much, before what it does not have is given up. `usage_s`: an end may wait so long for what accounting says
    that the job used."""

    settle_s: float
    vanish_s: float
    usage_s: float = 0.0


class Book:
    """All tickets of one cluster. `instance` is in the names of its submissions."""

    def __init__(self, instance: str, tickets: Iterable[Ticket], patience: Patience) -> None:
        self.tickets: dict[str, Ticket] = {ticket.name: ticket for ticket in tickets}
        self.strays: list[Target] = []
        """Jobs in Slurm that are nobody's: a second one of a name."""
        self._instance = instance
        self._patience = patience
        self._is_measured_from_s = -math.inf
        """Accounting gave no answer: before that no end waits for it."""
        self._by_key = {ticket.key(index): ticket for ticket in self.tickets.values() for index in ticket.elements}

    def begin_again(self) -> None:
        """No submission is on its way any more."""
        for ticket in self.tickets.values():
            ticket.is_asked = False

    # -- orders --------------------------------------------------------------------------------------------------------

    def launch(self, orders: Sequence[LaunchOrder], partitions: Mapping[str, str], now_s: float) -> list[Change]:
        """Take new attempts in; of those that are known, say again what is known."""
        changes: list[Change] = []
        together: dict[tuple[int, int, int], list[LaunchOrder]] = defaultdict(list)
        for order in orders:
            if (ticket := self._by_key.get(order.key)) is not None:
                changes += self._known_again(ticket, order, partitions)
            else:
                index = -1 if order.spec.array is not None else order.key.index
                together[order.key.job_id, order.key.attempt, index].append(order)
        for same in together.values():
            changes += self._take(same, partitions, now_s)
        return changes

    def _take(self, orders: list[LaunchOrder], partitions: Mapping[str, str], now_s: float) -> list[Change]:
        first = orders[0]
        elements = {order.key.index: Element(_nodes_of(order)) for order in orders}
        name = marked_name(self._instance, first)
        is_array = first.spec.array is not None
        ticket = Ticket(name, first.key.job_id, first.key.attempt, is_array, elements, now_s)
        self._add(ticket)
        try:
            ticket.submission = submission_of(orders, name, partitions)
        except CannotForward as why:
            return self.refuse(ticket, str(why), now_s)
        return []

    def _known_again(self, ticket: Ticket, order: LaunchOrder, partitions: Mapping[str, str]) -> list[Change]:
        if ticket.submission is None and ticket.native_id is None and ticket.open:
            same = [attrs.evolve(order, key=ticket.key(index)) for index in ticket.elements]
            ticket.submission = submission_of(same, ticket.name, partitions)
        status = ticket.status(order.key.index)
        return [] if status.start_time_s is None and status.end is None else self._changes(ticket, order.key.index)

    def cancel(self, node: NodeName, keys: Iterable[AttemptKey], now_s: float) -> list[Change]:
        """What was not submitted never will be; the rest is ended in Slurm (see `to_cancel`)."""
        changes: list[Change] = []
        for key in keys:
            ticket = self._by_key.get(key)
            if ticket is None:
                ticket = Ticket(str(key), key.job_id, key.attempt, False, {key.index: Element((node,))}, now_s)
                self._add(ticket)
            element = ticket.elements[key.index]
            element.is_cancel_wanted = True
            if element.end is None and _is_absent(ticket):
                changes += self._end(ticket, key.index, End(EndKind.CANCELLED), now_s)
        return changes

    def forget(self, node: NodeName, keys: Iterable[AttemptKey]) -> list[Ticket]:
        """Returns the tickets of which nothing needs to be known any more."""
        over: dict[str, Ticket] = {}
        for key in keys:
            ticket = self._by_key.get(key)
            if ticket is None or ticket.elements[key.index].end is None:
                continue
            ticket.elements[key.index].forgotten.add(node)
            if ticket.is_forgotten:
                over[ticket.name] = ticket
        for ticket in over.values():
            self.tickets.pop(ticket.name, None)
            for index in ticket.elements:
                self._by_key.pop(ticket.key(index), None)
        return list(over.values())

    # -- submissions ---------------------------------------------------------------------------------------------------

    def ready(self) -> list[Ticket]:
        """What is to be submitted now."""
        return [
            each for each in self.tickets.values() if each.submission is not None and _is_absent(each) and each.open
        ]

    def submission(self, ticket: Ticket) -> Submission:
        """Without the elements that were cancelled meanwhile."""
        assert ticket.submission is not None
        if not ticket.is_array:
            return ticket.submission
        return attrs.evolve(ticket.submission, indices=format_ranges(runs_of(sorted(ticket.open))))

    def accept(self, ticket: Ticket, native_id: int, now_s: float) -> None:
        """Slurm took it."""
        ticket.native_id, ticket.doubt_time_s, ticket.known_time_s = native_id, None, now_s

    def doubt(self, ticket: Ticket, now_s: float) -> None:
        """The answer was lost."""
        ticket.doubt_time_s = now_s

    def refuse(self, ticket: Ticket, why: str, now_s: float) -> list[Change]:
        """Slurm will not have it."""
        end = End(EndKind.LAUNCH_FAILED, detail=why)
        return [change for index in ticket.open for change in self._end(ticket, index, end, now_s)]

    # -- answers -------------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to ask about."""
        return not any(ticket.over or (ticket.open and not _is_absent(ticket)) for ticket in self.tickets.values())

    def learn(self, jobs: Iterable[SlurmJob], asked_s: float, now_s: float) -> list[Change]:
        """What slurmctld says of all jobs, when it was asked at that time."""
        of_name: dict[str, list[SlurmJob]] = defaultdict(list)
        for job in jobs:
            if job.name in self.tickets:
                of_name[job.name].append(job)
        changes: list[Change] = []
        for ticket in self.tickets.values():
            if not ticket.open or _is_absent(ticket):
                continue
            records = self._own(ticket, of_name.get(ticket.name, []))
            if records or (ticket.native_id is not None and asked_s > ticket.known_time_s):
                changes += self._learn(ticket, records, now_s)
        return changes

    def missing(self, asked_s: float) -> list[Ticket]:
        """Tickets that slurmctld, asked at that time, should have named and did not: accounting may know them."""
        settled_s = asked_s - self._patience.settle_s
        return [
            ticket
            for ticket in self.tickets.values()
            if any(element.missed_since_s is not None for element in ticket.open.values())
            or (ticket.open and ticket.doubt_time_s is not None and ticket.doubt_time_s < settled_s)
        ]

    def settle(self, tickets: Iterable[Ticket], past: Iterable[SlurmJob] | None, now_s: float) -> list[Change]:
        """Missing tickets, and what accounting knows of them (None: there is no accounting)."""
        of_name: dict[str, list[SlurmJob]] = defaultdict(list)
        for job in past or ():
            of_name[job.name].append(job)
        changes: list[Change] = []
        for ticket in tickets:
            records = self._own(ticket, of_name.get(ticket.name, []))
            if ticket.native_id is None:
                changes += self._repeat_or_give_up(ticket, past is not None, now_s)
                continue
            by_index = _by_index(records)
            for index, element in ticket.open.items():
                record = by_index.get(index if ticket.is_array else None)
                if record is not None and end_of(record, element.is_cancel_wanted) is not None:
                    changes += self._update(ticket, index, record, now_s, is_accounted=True)
                elif element.missed_since_s is not None and now_s - element.missed_since_s > self._patience.vanish_s:
                    changes += self._end(ticket, index, _vanished(element), now_s)
        return changes

    def unmeasured(self) -> list[Ticket]:
        """Tickets with ends that wait for what accounting says that they used."""
        return [ticket for ticket in self.tickets.values() if ticket.over]

    def measure(self, tickets: Iterable[Ticket], past: Iterable[SlurmJob] | None, now_s: float) -> list[Change]:
        """What accounting knows of them; None: there is none, or no answer, and for a while no end waits for it."""
        if past is None:
            self._is_measured_from_s = now_s + ACCOUNTING_AGAIN_S
        of_name: dict[str, list[SlurmJob]] = defaultdict(list)
        for job in past or ():
            of_name[job.name].append(job)
        changes: list[Change] = []
        for ticket in tickets:
            by_index = _by_index(self._own(ticket, of_name.get(ticket.name, [])))
            for index, over in ticket.over.items():
                record = by_index.get(index if ticket.is_array else None)
                used = None if record is None or end_of(record, False) is None else record.used
                if used is not None or past is None or now_s - over.seen_time_s >= self._patience.usage_s:
                    changes += self._end(ticket, index, _measured(over.end, used), over.end_time_s)
        return changes

    def to_cancel(self) -> list[Target]:
        """What is to end in Slurm, as few targets as possible."""
        targets, self.strays = self.strays, []
        for ticket in self.tickets.values():
            wanted = ticket.to_cancel
            if wanted and ticket.native_id is not None:
                is_whole = not ticket.is_array or all(each.is_cancel_wanted for each in ticket.open.values())
                targets.append((ticket.native_id, None if is_whole else wanted))
        return targets

    def records(self, node: NodeName) -> list[PartStatus]:
        """All that is known of parts on that node."""
        return [
            ticket.status(index)
            for ticket in self.tickets.values()
            for index, element in ticket.elements.items()
            if node in element.nodes and node not in element.forgotten
        ]

    def starts(self, planned: Mapping[tuple[int, int | None], float]) -> tuple[QueuedStart, ...]:
        """Of elements that wait in Slurm, by native id and index, when they are likely to start: to the next minute."""
        found = []
        for ticket in self.tickets.values():
            if ticket.native_id is None:
                continue
            of_all = planned.get((ticket.native_id, None))
            for index, element in ticket.open.items():
                start_s = planned.get((ticket.native_id, index), of_all)
                if element.start_time_s is None and start_s is not None:
                    found.append(QueuedStart(ticket.job_id, index, math.ceil(start_s / MINUTE_S) * MINUTE_S))
        return tuple(found)

    # -- one ticket ----------------------------------------------------------------------------------------------------

    def _own(self, ticket: Ticket, found: list[SlurmJob]) -> list[SlurmJob]:
        """The records that are of this submission; a ticket in doubt is found by them."""
        if found and ticket.native_id is None:
            self.accept(ticket, min(job.native_id for job in found), 0.0)
        for other in {job.native_id for job in found} - {ticket.native_id}:
            self.strays.append((other, None))
        return [job for job in found if job.native_id == ticket.native_id]

    def _learn(self, ticket: Ticket, records: list[SlurmJob], now_s: float) -> list[Change]:
        by_index = _by_index(records)
        rest = next((job for job in records if job.is_rest), None)
        changes: list[Change] = []
        for index, element in ticket.open.items():
            job = by_index.get(index if ticket.is_array else None)
            if job is None and rest is not None and _may_hold(rest, index):
                job = rest
            if job is not None:
                element.missed_since_s = None
                changes += self._update(ticket, index, job, now_s)
            elif element.is_cancel_wanted and element.start_time_s is None and records:
                # An element that is cancelled before it starts leaves no record, in accounting either.
                changes += self._end(ticket, index, End(EndKind.CANCELLED), now_s)
            elif element.missed_since_s is None:
                element.missed_since_s = now_s
        return changes

    def _update(
        self, ticket: Ticket, index: int, job: SlurmJob, now_s: float, *, is_accounted: bool = False
    ) -> list[Change]:
        element = ticket.elements[index]
        if job.state in WAITING:
            if element.start_time_s is None and job.reason.replace("_", " ") != LAUNCH_HELD:
                return []
            element.is_cancel_wanted = True  # Slurm would run it again
            self.strays.append((job.native_id, ((index, index + 1),) if ticket.is_array else None))
            return self._end(ticket, index, End(EndKind.NODE_LOST, detail="Slurm queued it again"), now_s)
        end = end_of(job, element.is_cancel_wanted)
        did_start = job.state in ACTIVE or (end is not None and job.nodes != "" and job.state != "BOOT_FAIL")
        is_news = element.start_time_s is None and job.start_time_s is not None and did_start
        if is_news:
            element.start_time_s = job.start_time_s
        if end is not None:
            over_s = now_s if job.end_time_s is None else job.end_time_s
            if is_accounted or not self._waits_for_use(element, now_s):
                return self._end(ticket, index, _measured(end, job.used), over_s)
            element.over = Over(end, over_s, now_s)
        return self._changes(ticket, index) if is_news else []

    def _waits_for_use(self, element: Element, now_s: float) -> bool:
        """What never began used nothing."""
        return self._patience.usage_s > 0 and element.start_time_s is not None and now_s >= self._is_measured_from_s

    def _repeat_or_give_up(self, ticket: Ticket, has_accounting: bool, now_s: float) -> list[Change]:
        """Nothing in Slurm has its name, though enough time has passed."""
        if not has_accounting and now_s - ticket.intent_time_s > REMEMBERED_S:
            end = End(EndKind.NODE_LOST, detail=NEVER_KNOWN)
            return [change for index in ticket.open for change in self._end(ticket, index, end, now_s)]
        ticket.doubt_time_s = None
        ticket.intent_time_s = now_s
        wanted = [index for index, element in ticket.open.items() if element.is_cancel_wanted]
        return [change for index in wanted for change in self._end(ticket, index, End(EndKind.CANCELLED), now_s)]

    def _end(self, ticket: Ticket, index: int, end: End, time_s: float) -> list[Change]:
        element = ticket.elements[index]
        element.end, element.over = end, None
        element.end_time_s = time_s if element.start_time_s is None else max(time_s, element.start_time_s)
        return self._changes(ticket, index)

    def _changes(self, ticket: Ticket, index: int) -> list[Change]:
        element, status = ticket.elements[index], ticket.status(index)
        return [(node, status) for node in element.nodes if node not in element.forgotten]

    def _add(self, ticket: Ticket) -> None:
        self.tickets[ticket.name] = ticket
        self._by_key |= {ticket.key(index): ticket for index in ticket.elements}


def _is_absent(ticket: Ticket) -> bool:
    """Nothing of it is in Slurm, for certain."""
    return ticket.native_id is None and ticket.doubt_time_s is None and not ticket.is_asked


def _nodes_of(order: LaunchOrder) -> tuple[NodeName, ...]:
    """Where the kernel waits for a part."""
    names = tuple(name for name, _ in order.nodes)
    return names[:1] if order.spec.spread is Spread.JOB else names


def _by_index(records: Iterable[SlurmJob]) -> dict[int | None, SlurmJob]:
    return {job.index: job for job in records if not job.is_rest}


def _may_hold(rest: SlurmJob, index: int) -> bool:
    return not rest.rest or any(start <= index < stop for start, stop in rest.rest)


def _measured(end: End, used: Used | None) -> End:
    if used is None:
        return end
    return attrs.evolve(end, cpu_s=used.cpu_s, peak_memory_bytes=used.peak_memory_bytes)


def _vanished(element: Element) -> End:
    if element.is_cancel_wanted:
        return End(EndKind.CANCELLED)
    if element.start_time_s is None:
        return End(EndKind.NODE_LOST, detail=LOST)
    return End(EndKind.SUPERVISOR_LOST, detail=LOST)
