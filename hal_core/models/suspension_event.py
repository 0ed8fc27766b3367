"""Events of suspended jobs; models/event.py has all."""

from __future__ import annotations

import attrs

from hal_core.models.job import JobId
from hal_core.models.ranges import Ranges


@attrs.frozen
class JobSuspended:
    """Running elements stand still from now on and lend their CPUs to `suspended_for`, which is placed next. All else
    they keep, and their time limit stands still with them."""

    time_s: float
    job_id: JobId
    elements: Ranges
    by: str
    suspended_for: JobId


@attrs.frozen
class JobResumed:
    """Suspended elements have all their CPUs back and go on."""

    time_s: float
    job_id: JobId
    elements: Ranges
    by: str
