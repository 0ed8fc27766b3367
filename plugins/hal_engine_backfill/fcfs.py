"""First come, first served: start jobs in order; a partition stops at its first job that does not fit.

Guarantee: within a partition, no job starts before one that stands ahead of it.
"""

from __future__ import annotations

from hal_core import Ask, Nearness, PartitionName, PendingJob, Permits, Plan, Room, Snapshot, Start


class Fcfs:
    """Start jobs in order; a partition stops at its first job that does not fit."""

    def plan(self, snapshot: Snapshot) -> Plan:
        room = snapshot.room()
        permits = Permits(snapshot.holds, room.packing, snapshot.now_s)
        starts: list[Start] = []
        nearness = Nearness(snapshot, room, does_wait=False)
        quota = snapshot.quota
        stopped: set[PartitionName] = set()
        depth = 0
        for job in snapshot.pending():
            if job.shape.partition in stopped and not job.reservation:
                continue
            depth += 1
            tiers = snapshot.stage_in(job.inputs) if job.inputs else ()
            if tiers:
                found, _ = nearness.place(job, permits.ask(job), tiers)
                starts += found
                left = job.element_count - len(found)
            else:
                left = start_elements(room, permits.ask(job), job, starts)
            if quota is not None:
                quota.take(job.job_id, job.element_count - left)
            if left and not job.reservation:
                stopped.add(job.shape.partition)
                if len(stopped) == len(snapshot.partitions) and not snapshot.holds:
                    break
        return Plan(tuple(starts), depth=depth)


def start_elements(room: Room, ask: Ask, job: PendingJob, starts: list[Start]) -> int:
    """Start as many elements of the job as fit now, each where it fits best; takes them off `room`.

    Returns how many are left.
    """
    left = job.element_count
    while left:
        chosen = room.choose(ask)
        if not chosen:
            break
        count = min(left, room.count(chosen[0], ask)) if left > 1 and len(chosen) == 1 else 1
        room.take(chosen, ask, count)
        starts.append(Start(job.job_id, chosen, count))
        left -= count
    return left
