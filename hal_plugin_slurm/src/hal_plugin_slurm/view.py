"""How Slurm's nodes are booked: by what runs there, until its limit; by what waits, where it is likely to run. Pure.

What Slurm's reservations keep is booked too, for whoever is outside of them. Whatever runs and waits counts, HAL's own
jobs too: a job that is handed over now comes behind them all. What waits is planned in the order of its priority, each
job at the first moment when there is room for it; that is what Slurm's backfill does with perfect knowledge of limits.
Only so many are planned as can be in reasonable time, and jobs that cannot begin by themselves (held, dependencies, a
later begin) are left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from hal_core import BookedRoom, Booking, NodeBookings, NodeName, Request, merged_bookings
from hal_plugin_slurm.ends import ACTIVE, WAITING
from hal_plugin_slurm.way import MAINTENANCE, SlurmJob, SlurmNode, SlurmReservation, names_of

ROUND_S: Final = 60.0
WORK_MAX: Final = 100_000
"""Nodes that are looked at for all jobs that wait together: about a second of a thread."""
MIB: Final = 1 << 20
CONFIGURING: Final = "CONFIGURING"
"""It has its nodes, which are made ready."""
NOT_BY_ITSELF: Final = ("Dependency", "Held", "BeginTime", "Limit", "InvalidAccount", "InvalidQOS", "PartitionDown")
"""In Slurm's reasons for what does not wait for room."""
CLOSED: Final = ("down", "drained", "draining", "drain", "fail", "failing", "error", MAINTENANCE, "unknown", "future")

Held = dict[tuple[str, NodeName], list[Booking]]
"""What jobs that run in a reservation have of a node: by both names."""


@attrs.frozen
class View:
    """`starts`: when jobs that wait are likely to begin, by native id and index (None: all of a job or array). In whole
    minutes, as the ends of bookings: what could begin now would be news at every look."""

    nodes: tuple[NodeBookings, ...]
    starts: Mapping[tuple[int, int | None], float]


def view_of(
    nodes: Sequence[SlurmNode],
    jobs: Sequence[SlurmJob],
    now_s: float,
    reservations: Iterable[SlurmReservation] = (),
) -> View:
    running: dict[NodeName, list[Booking]] = {NodeName(node.name): [] for node in nodes}
    held: Held = defaultdict(list)
    waiting: list[SlurmJob] = []
    for job in jobs:
        if job.state in WAITING and not job.nodes:
            if waits_for_room(job):
                waiting.append(job)
        elif job.state in ACTIVE or job.state == CONFIGURING:
            _book(job, running, held, now_s)
    kept = _keep(reservations, {NodeName(node.name): node for node in nodes}, running, held, now_s)
    rows = [_row(node, running[NodeName(node.name)], kept) for node in nodes]
    room = BookedRoom(rows)
    starts = _plan(room, nodes, waiting, now_s)
    booked = [attrs.evolve(row, bookings=merged_bookings(room.of(row.node) or row.bookings, ROUND_S)) for row in rows]
    return View(tuple(booked), starts)


def _book(job: SlurmJob, running: Mapping[NodeName, list[Booking]], held: Held, now_s: float) -> None:
    """Slurm tells the end of what runs: its limit, or none."""
    names = names_of(job.nodes)
    end_s = None if job.end_time_s is None else max(job.end_time_s, now_s)
    start_s = now_s if job.start_time_s is None else job.start_time_s
    booking = Booking(start_s, end_s, *_each(job, len(names)))
    for name in names:
        if name in running:
            running[name].append(booking)
            if job.reservation:
                held[job.reservation, name].append(booking)


def _keep(
    reservations: Iterable[SlurmReservation],
    nodes: Mapping[NodeName, SlurmNode],
    running: Mapping[NodeName, list[Booking]],
    held: Held,
    now_s: float,
) -> set[NodeName]:
    """Book what reservations keep. Returns the nodes that are kept now, whole: they come free when it ends."""
    kept: set[NodeName] = set()
    for each in reservations:
        every = names_of(each.nodes)
        names = [name for name in every if name in nodes]  # HAL need not see all of them.
        share = -(-each.cpu_count // max(len(every), 1))
        is_whole = each.cpu_count * len(names) >= len(every) * sum(nodes[name].cpu_count for name in names)
        for name in names if each.end_time_s > now_s else ():
            node = nodes[name]
            amounts = (node.cpu_count, node.memory_mb * MIB, len(node.gpus)) if is_whole else (share, 0, 0)
            running[name] += _left_to(each, amounts, held.get((each.name, name), ()))
            if is_whole and each.start_time_s <= now_s:
                kept.add(name)
    return kept


def _left_to(
    reservation: SlurmReservation, amounts: tuple[int, int, int], held: Iterable[Booking]
) -> Iterator[Booking]:
    """What it keeps on one node beside what jobs of its own hold there, which comes back to it when they end.

    The job that ends last is taken off first, so that those that hold more than is kept give back only what is.
    """
    span_end_s, left = reservation.end_time_s, amounts
    for each in sorted(held, key=lambda booking: booking.stop_s, reverse=True):
        cpus, memory_bytes, gpus = map(min, left, (each.cpu_count, each.memory_bytes, each.gpu_count))
        left = left[0] - cpus, left[1] - memory_bytes, left[2] - gpus
        back_s = max(_rounded(min(each.stop_s, span_end_s)), reservation.start_time_s)  # As the ends of bookings are.
        if back_s < span_end_s:
            yield Booking(back_s, span_end_s, cpus, memory_bytes, gpus, reservation=reservation.name)
    if any(left):
        yield Booking(reservation.start_time_s, span_end_s, *left, reservation=reservation.name)


def _each(job: SlurmJob, node_count: int) -> tuple[int, int, int]:
    """CPUs, bytes of memory and GPUs on each of its nodes, as if they were shared out evenly."""
    _, cpus, memory_mb, gpus = job.amounts
    count = max(node_count, 1)
    return -(-cpus // count), -(-memory_mb // count) * MIB, -(-gpus // count)


def _plan(
    room: BookedRoom, nodes: Sequence[SlurmNode], waiting: list[SlurmJob], now_s: float
) -> dict[tuple[int, int | None], float]:
    of_partition: dict[str, list[NodeName]] = {}
    for node in nodes:
        for partition in node.partitions:
            of_partition.setdefault(partition, []).append(NodeName(node.name))
    starts: dict[tuple[int, int | None], float] = {}
    waiting.sort(key=lambda job: (-job.priority, job.native_id, job.index or 0))
    work_left = WORK_MAX
    for job in waiting:
        names = [name for partition in job.partition.split(",") for name in of_partition.get(partition, ())]
        request = _request(job)
        for _ in range(job.waiting_count):
            work_left -= len(names)
            if work_left < 0:
                return starts
            start_s, chosen = room.earliest(request, now_s, names)
            if not chosen:
                break
            room.take(request, start_s, chosen)
            key = job.native_id, job.index
            starts.setdefault(key, _rounded(start_s if job.start_time_s is None else max(job.start_time_s, now_s)))
    return starts


def _request(job: SlurmJob) -> Request:
    count = max(job.amounts.node_count, 1)
    length_s = math.inf if job.limit_s is None else job.limit_s
    return Request(count, *_each(job, count), length_s, reservation=job.reservation)


def _rounded(time_s: float) -> float:
    return math.ceil(time_s / ROUND_S) * ROUND_S


def waits_for_room(job: SlurmJob) -> bool:
    """Whether it would begin by itself if there were room."""
    return not any(words in job.reason for words in NOT_BY_ITSELF)


def is_closed(node: SlurmNode) -> bool:
    """Whether Slurm starts nothing there."""
    return any(node.state.startswith(word) for word in CLOSED)


def why_closed(node: SlurmNode) -> str:
    """Empty if it is not."""
    words = f"{node.state} in Slurm" if is_closed(node) else ""
    return f"{words}: {node.reason}" if words and node.reason else words


def _row(node: SlurmNode, bookings: Iterable[Booking], kept: Container[NodeName]) -> NodeBookings:
    """A node in maintenance is not closed where its reservation says until when."""
    name = NodeName(node.name)
    size = name, node.cpu_count, node.memory_mb * MIB, len(node.gpus)
    is_kept = node.state == MAINTENANCE and name in kept
    return NodeBookings(*size, tuple(bookings), "" if is_kept else why_closed(node))
