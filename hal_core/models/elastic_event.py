"""What happens to elastic jobs only; models/event.py has all events."""

from __future__ import annotations

import attrs

from hal_core.models.job import JobId


@attrs.frozen
class WeightChanged:
    """An elastic job has another part of what all others leave than before."""

    time_s: float
    job_id: JobId
    weight: int
    by: str
