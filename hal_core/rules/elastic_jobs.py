"""What the state knows of elastic jobs beside the snapshot: whose they are, and what part of the rest is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.job import JobId
from hal_core.models.placement import Grant
from hal_core.rules.fair_share import FairShares, Who

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State

Key = tuple[JobId, int]

SHARE_MIN: Final = 1e-9
"""Of an owner whose account is not configured any more."""


@attrs.frozen
class Elastic:
    """What the state knows of elastic jobs beside the snapshot: the weight of each, and how long it may take to end."""

    weights: Mapping[JobId, int]
    graces_s: Mapping[JobId, float]
    leaving: Mapping[Key, JobId | None]
    """Elements that were asked to end already, and for which job."""
    ranks: Mapping[JobId, int]
    """As PendingJob.rank."""
    owners: Mapping[JobId, Who]
    shares: Mapping[Who, float]
    """Of each owner, in the whole."""
    cpus: Mapping[JobId, int]
    """Of one element."""
    grants: tuple[Grant, ...] = ()
    """Of the last plan."""


def elastic_of(state: State) -> Elastic:
    records = [state.jobs[job_id] for job_id in state.owned.elastic]
    owners: dict[JobId, Who] = {record.job_id: (record.payer.account, record.payer.user) for record in records}
    fair = FairShares(state.cluster.accounts, {}, owners.values())
    return Elastic(
        {record.job_id: record.elastic_weight for record in records},
        {record.job_id: record.spec.kill_grace_s for record in records},
        {
            (record.job_id, index): activity.preempted_for
            for record in records
            for index, activity in record.active.items()
            if activity.cancel is not None or not activity.is_launched
        },
        {record.job_id: record.rank for record in records},
        owners,
        {who: max(fair.of(*who).share, SHARE_MIN) for who in owners.values()},
        {record.job_id: _cpus(record) for record in records},
        state.grants,
    )


def running_counts(state: State) -> dict[Who, tuple[int, int]]:
    """How many elastic elements each owner has now, and how many CPUs they have."""
    counts: dict[Who, tuple[int, int]] = {}
    for job_id in state.owned.elastic:
        record = state.jobs[job_id]
        who, count = (record.payer.account, record.payer.user), len(record.active)
        elements, cpus = counts.get(who, (0, 0))
        counts[who] = elements + count, cpus + count * _cpus(record)
    return counts


def _cpus(record: JobRecord) -> int:
    return record.shape.node_count * record.shape.cpus
