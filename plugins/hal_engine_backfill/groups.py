"""Which groups of partitions a plan of EASY must look at again, and which are as the last plan left them.

Groups share no nodes (models/packing.py), so that what ends or comes in one changes nothing in the others. Where
nothing ended, and those who came do not fit behind a promise, whoever waited waits on: what disturbed that promise then
disturbs it now, for it would end later still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from itertools import islice

import attrs

from hal_core import JobId, PartitionName, PendingJob, Plan, Snapshot
from hal_engine_backfill.shadow import Shadow


@attrs.frozen
class Blocked:
    """What a plan leaves to the next one: the first blocked job of each group that has one.

    Not left when somebody waits for data: he may start although nothing has happened.
    """

    first_of: Mapping[PartitionName, JobId]
    shadows: Mapping[PartitionName, Shadow] = attrs.field(factory=dict)
    """Their promises, as far as those can be kept; of a group that is planned anew they belong to that plan."""


def kept_shadows(snapshot: Snapshot) -> Mapping[PartitionName, Shadow]:
    """By group, the promises that the last plan left, if what happened since is known."""
    memo = snapshot.memo
    if snapshot.changes is None or not isinstance(memo, Blocked) or snapshot.holds or snapshot.quota is not None:
        return {}
    return memo.shadows


def changed_groups(snapshot: Snapshot, tried_max: int) -> Set[PartitionName] | None:
    """The groups in which a job may start that could not at the last plan, or be promised something else. None: all.

    `tried_max`: of a longer queue a plan may try only a part, which depends on all groups.
    """
    changes, memo = snapshot.changes, snapshot.memo
    if changes is None or not isinstance(memo, Blocked) or snapshot.holds or snapshot.quota is not None:
        return None
    room = snapshot.room()
    packing = room.packing
    group_of = packing.group_of
    changed = {group_of[job.shape.partition] for job in changes.ended}
    for job in changes.arrived:
        group = group_of[job.shape.partition]
        if group not in changed and (group not in memo.first_of or room.choose(packing.ask(job.shape))):
            changed.add(group)
    if changed and len(changed) < len(packing.group_nodes):
        is_long = next(islice(snapshot.pending(), tried_max, None), None) is not None
        return None if is_long else changed
    return changed


def of_groups(jobs: Iterator[PendingJob], groups: Set[PartitionName], snapshot: Snapshot) -> Iterator[PendingJob]:
    """The jobs that compete in these groups."""
    group_of = snapshot.room().packing.group_of
    return (job for job in jobs if group_of[job.shape.partition] in groups)


def with_the_others(plan: Plan, groups: Set[PartitionName], snapshot: Snapshot) -> Plan:
    """A plan for these groups, and what the last plan promised in the others, in the order of the queue."""
    before, now = snapshot.memo, plan.memo
    assert isinstance(before, Blocked), "the groups were told by it"
    others = {group: job_id for group, job_id in before.first_of.items() if group not in groups}
    reserves = {job_id: snapshot.promises[job_id] for job_id in others.values() if job_id in snapshot.promises}
    reserves |= {reserve.job_id: reserve for reserve in plan.reserves}
    in_order = (reserves[job.job_id] for job in snapshot.pending() if job.job_id in reserves)
    memo = None
    if isinstance(now, Blocked):
        shadows = {group: shadow for group, shadow in before.shadows.items() if group not in groups}
        memo = Blocked({**others, **now.first_of}, {**shadows, **now.shadows})
    return attrs.evolve(plan, reserves=tuple(islice(in_order, len(reserves))), memo=memo)
