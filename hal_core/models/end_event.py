"""The event of a job's end. See `event.py` for what holds of all events."""

from __future__ import annotations

import attrs

from hal_core.models.job import End, JobId
from hal_core.models.ranges import Ranges


@attrs.frozen
class JobEnded:
    """Elements reached a final state (`end.state`); several only if they never ran (`start_time_s` None). Else
    both times are of the node's own clock."""

    time_s: float
    job_id: JobId
    elements: Ranges
    attempt: int
    end: End
    start_time_s: float | None
    end_time_s: float
    suspended_s: float = 0.0
    """So much of the time between them it stood still."""

    @property
    def ran_s(self) -> float | None:
        """Without what it stood still; None: it never ran."""
        return None if self.start_time_s is None else max(0.0, self.end_time_s - self.start_time_s - self.suspended_s)
