"""What predictors are asked, what they answer, and what they learn from."""

from __future__ import annotations

import attrs

from hal_core.models.job import End, JobId, JobSpec, Owner


@attrs.frozen
class Prediction:
    """Quantiles of a run time in seconds, p10 <= p50 <= p90, and how such jobs end. Used for planning only; jobs are
    killed at their limit."""

    p10_s: float
    p50_s: float
    p90_s: float
    planned_s: float | None = None
    """What to plan with, if not the median: to be too short costs a plan less than to be too long."""
    mean_s: float | None = None
    """The mean, if it is not what is planned with: what starting the job will cost those who wait behind it."""
    time_out_probability: float | None = None
    """That it runs into its time limit; None: that is not said. For advice alone."""
    failure_probability: float | None = None
    """That it ends with an error of its own."""

    @property
    def expected_s(self) -> float:
        return self.p50_s if self.planned_s is None else self.planned_s

    @property
    def average_s(self) -> float:
        return self.expected_s if self.mean_s is None else self.mean_s


@attrs.frozen
class Arrival:
    """A job as it came in. An array is one: the question is about each of its elements."""

    job_id: JobId
    owner: Owner
    spec: JobSpec
    submit_time_s: float


@attrs.frozen
class LearnedFrom:
    """How many jobs a predictor has seen end: of all users, of the user, and of the user's with this name. Of the
    latest of these, how many failed, and how many ran into their time limit."""

    job_count: int
    of_user_count: int
    of_name_count: int
    latest_count: int = 0
    failed_count: int = 0
    time_limit_count: int = 0


@attrs.frozen
class Foretold:
    """What a predictor would say of a job that nobody has submitted."""

    predictor: str
    run_time: Prediction | None
    learned_from: LearnedFrom | None = None
    why_not: str = ""
    """Why it says nothing; the empty string if it does say something."""


@attrs.frozen
class Outcome:
    """One element of it ended by itself or at its limit; ends that came from outside tell nothing of its run time."""

    arrival: Arrival
    runtime_s: float
    end_time_s: float
    end: End
