"""Whether plans may go on resting on what a predictor says: it must not be worse than what anybody could say. Pure.

The yardsticks are the job's limit and the mean of the user's last two run times (EASY++: Tsafrir, Etsion and Feitelson,
IEEE TPDS 18(6), 2007). An error is the difference of logarithms, so that 10 s instead of a minute weighs as much as an
hour instead of six: what decides about an order is proportions. Lately counts more than long ago.
Guarantee: what is random, constant or wrong in any other way is soon not believed, and planning goes on with limits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hal_core.models.prediction import Prediction
from hal_core.rules.predictions import believable

if TYPE_CHECKING:
    from hal_core.models.job import JobId
    from hal_core.models.prediction import Arrival, Outcome
    from hal_core.planes import Predictor

YARDSTICK: Final = "last-two"
"""The predictor that is not measured, for it is what others are measured with."""
ENDS_MIN: Final = 30
"""It is not judged before so many jobs have ended of which it said something."""
MEMORY: Final = 300
"""Of the means, in ends."""
TOLERANCE: Final = 1.5
"""How many times the better yardstick's error it may come to make. Not less: one of the yardsticks is nearly always
lucky for a while, and to plan with limits instead costs more than that."""
TOLERANCE_AGAIN: Final = 1.25
"""What it may make to be believed again."""
USERS_MAX: Final = 100_000
SAID_MAX: Final = 200_000
"""Beyond these the longest known are forgotten first."""

Said = tuple[float, float | None]
"""By the predictor, and by the mean of the user's last two run times at the same moment."""


class Trust:
    """Mean errors of a predictor and of the yardsticks."""

    def __init__(self) -> None:
        self.is_kept = True
        self._count = 0
        self._errors = [0.0, 0.0, 0.0]
        self._last_s: dict[str, tuple[float, ...]] = {}
        """Of each user, up to two run times."""

    def usual_s(self, job: Arrival) -> float | None:
        """The mean of the user's last two run times, as far as they are known now."""
        last_s = self._last_s.get(job.owner.user, ())
        return sum(last_s) / 2 if len(last_s) == 2 else None

    def ended(self, outcome: Outcome, said_s: Said | None) -> None:
        """A job ended of which this was said; None: nothing, which is no error."""
        job, run_s = outcome.arrival, outcome.runtime_s
        if said_s is not None:
            own_s, usual_s = said_s
            limit_s = max(run_s, 1.0) if job.spec.walltime_s is None else job.spec.walltime_s
            self._weigh(run_s, (own_s, limit_s, limit_s if usual_s is None else min(usual_s, limit_s)))
        last_s = self._last_s.pop(job.owner.user, ())
        self._last_s[job.owner.user] = (*last_s, run_s)[-2:]
        if len(self._last_s) > USERS_MAX:
            del self._last_s[next(iter(self._last_s))]

    def _weigh(self, run_s: float, said_s: tuple[float, ...]) -> None:
        self._count += 1
        weight = 1.0 / min(self._count, MEMORY)
        for at, each_s in enumerate(said_s):
            error = abs(math.log1p(each_s) - math.log1p(run_s))
            self._errors[at] += weight * (error - self._errors[at])
        own, *yardsticks = self._errors
        bound = TOLERANCE if self.is_kept else TOLERANCE_AGAIN
        self.is_kept = self._count < ENDS_MIN or own <= bound * min(yardsticks)


class Fenced:
    """Implements planes.Predictor by another one: always asked and taught, passed on while it is trusted."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._said_s: dict[JobId, Said] = {}
        self.trust = Trust()

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        answers = [_believed(job, said) for job, said in zip(jobs, self._predictor.predict(jobs), strict=True)]
        for job, answer in zip(jobs, answers, strict=True):
            if answer is not None:
                self._said_s[job.job_id] = (answer.p50_s, self.trust.usual_s(job))
        while len(self._said_s) > SAID_MAX:
            del self._said_s[next(iter(self._said_s))]
        return answers if self.trust.is_kept else [None] * len(answers)

    def foretell(self, job: Arrival) -> Prediction | None:
        """None also if the other one cannot be asked so."""
        foretell = getattr(self._predictor, "foretell", None)  # planes.Foreteller
        return _believed(job, foretell(job)) if self.trust.is_kept and foretell is not None else None

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        for outcome in outcomes:
            job = outcome.arrival
            said_s = self._said_s.get(job.job_id)
            self.trust.ended(outcome, said_s)
            if job.spec.array is None:  # Of an array more elements will end.
                self._said_s.pop(job.job_id, None)
        return self._predictor.learn(outcomes)


def fenced(name: str, predictor: Predictor) -> Predictor:
    """The predictor of that name as planning should meet it."""
    return predictor if name == YARDSTICK else Fenced(predictor)


def _believed(job: Arrival, said: object) -> Prediction | None:
    return believable(said, job.spec.walltime_s) if isinstance(said, Prediction) else None
