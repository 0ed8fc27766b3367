"""Events of suspended jobs; models/event.py has all."""

from __future__ import annotations

import attrs

from hal_core.models.job import JobId
from hal_core.models.ranges import Ranges


@attrs.frozen
class JobSuspended:
    """Running elements stand still from now on, and their time limit with them. They keep all but their CPUs, which
    they lend to `suspended_for`, which is placed next. None: a person wants it so (`by`), also of what stood still
    already, and their CPUs are free until JobResumeRequested."""

    time_s: float
    job_id: JobId
    elements: Ranges
    by: str
    suspended_for: JobId | None = None


@attrs.frozen
class JobResumeRequested:
    """What a person suspended is to go on. Its CPUs are free no more; JobResumed follows when nobody has them."""

    time_s: float
    job_id: JobId
    elements: Ranges
    by: str


@attrs.frozen
class JobResumed:
    """Suspended elements have all their CPUs back and go on."""

    time_s: float
    job_id: JobId
    elements: Ranges
    by: str
