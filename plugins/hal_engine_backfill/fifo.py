"""First in, first out: start jobs in order; a partition stops at its first job that does not fit.

Guarantee: within a partition, no job starts before one that stands ahead of it.
"""

from __future__ import annotations

from hal_core import PartitionName, PendingJob, Plan, Room, Snapshot, Start, tightest


class Fifo:
    """Start jobs in order; a partition stops at its first job that does not fit."""

    def plan(self, snapshot: Snapshot) -> Plan:
        room = Room(snapshot.columns)
        starts: list[Start] = []
        stopped: set[PartitionName] = set()
        depth = 0
        for job in snapshot.pending():
            if job.shape.partition in stopped:
                continue
            depth += 1
            started = start_elements(snapshot, room, job)
            starts += started
            if sum(start.element_count for start in started) < job.element_count:
                stopped.add(job.shape.partition)
                if len(stopped) == len(snapshot.partitions):
                    break
        return Plan(tuple(starts), depth=depth)


def start_elements(snapshot: Snapshot, room: Room, job: PendingJob) -> list[Start]:
    """Start as many elements of the job as fit now, each where it fits best; takes them off `room`."""
    numbers = snapshot.partition_nodes(job.shape.partition)
    left = job.element_count
    starts: list[Start] = []
    while left:
        chosen = tightest(room, job.shape, numbers)
        if chosen is None:
            break
        count = min(left, room.count(chosen[0], job.shape)) if len(chosen) == 1 else 1
        for number in chosen:
            room.take(number, job.shape, count)
        starts.append(Start(job.job_id, chosen, count))
        left -= count
    return starts
