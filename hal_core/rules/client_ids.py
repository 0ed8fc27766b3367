"""Client ids: what a submission was sent under, so that one which is sent again is the same job."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from hal_core.models.job import JobId

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord

CLIENT_ID_KEPT_S = 3600.0
"""How long a client id makes a repeated submission the same job, at least."""
CLIENT_ID_KEPT_COUNT = 10_000
"""So many are known however old they look: somebody may have set the clock."""
ClientIds = dict[tuple[int, str], tuple[JobId, float]]
"""(user id, client id) -> (job, when it was submitted), the longest known first."""


def remember(client_ids: ClientIds, record: JobRecord, unfinished: Container[JobId]) -> None:
    """Add the job's; forget old ones, but never that of an unfinished job."""
    client_ids[record.owner.uid, record.client_id] = (record.job_id, record.submit_time_s)
    for _ in range(2):  # more than one comes in, so that they never pile up behind a job that lives long
        oldest = next(iter(client_ids))
        job_id, time_s = client_ids[oldest]
        if len(client_ids) <= CLIENT_ID_KEPT_COUNT or time_s > record.submit_time_s - CLIENT_ID_KEPT_S:
            return
        del client_ids[oldest]
        if job_id in unfinished:
            client_ids[oldest] = (job_id, record.submit_time_s)
