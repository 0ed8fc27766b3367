"""The predictor `ml`: how long jobs run and how they end, learned from each as it ends, in one pass over what happens.

A job is looked at when it comes, and again when its user's jobs end while it waits: what happened meanwhile often says
more about it than all before. Learned is what was known at the latest look, and how long it ran.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Final

import attrs

from hal_core import Arrival, InvalidInput, JobId, Outcome, Prediction
from hal_plugin_ml.chances import Chances
from hal_plugin_ml.drift import DriftWatch
from hal_plugin_ml.history import ARRIVAL_PLACES, SIZE, History, Vector, ends_badly, kind_of, limit_of
from hal_plugin_ml.linear import Groups
from hal_plugin_ml.mixing import Matrix
from hal_plugin_ml.models import LOG_MAX, Models
from hal_plugin_ml.storing import not_ours, packed, unpacked

TAUS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Evenly spread, so that the mean of the quantiles is about that of the run times."""
MEDIAN: Final = 2
AGAIN_MAX: Final = 50
"""So many open jobs of a user, the oldest, are looked at again when one ends: some have a thousand, and what is learned
of the next ones in time is enough."""
OPEN_MAX: Final = 200_000
"""Jobs that came and did not end yet; of older ones nothing is learned."""


@attrs.define
class _Open:
    """A job that came and has not ended."""

    user: str
    vector: Vector
    said: Matrix


class MlPredictor:
    """Implements planes.Predictor."""

    def __init__(self) -> None:
        self._history = History()
        self._models = Models(TAUS)
        self._chances = Chances(2, SIZE)
        """Of running into the limit, and of failing."""
        self._open: dict[JobId, _Open] = {}
        self._open_of: dict[str, dict[JobId, None]] = {}
        self._learned_count = 0
        self.drift = DriftWatch()

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        return [self._predict(job) for job in jobs]

    def foretell(self, job: Arrival) -> Prediction | None:
        """As `predict`, of a job that has not come."""
        return self._answer(job, *self._said(job, self._history.look(job)))

    def _predict(self, job: Arrival) -> Prediction | None:
        known = self._look(job)
        return self._answer(job, known.vector, known.said)

    def _answer(self, job: Arrival, vector: Vector, said: Matrix) -> Prediction | None:
        if not self._learned_count:
            return None
        limit_s, is_limited, groups = limit_of(job), job.spec.walltime_s is not None, _groups(job)
        times_s = [time_of(each, limit_s, is_limited) for each in self._models.together(said, groups)]
        mean_s = min(max(sum(times_s) / len(times_s), 1.0), times_s[-1])
        time_out, failure = self._chances.predict(vector, groups)
        ends = (time_out if is_limited else 0.0, failure)
        return Prediction(times_s[0], times_s[MEDIAN], times_s[-1], None, mean_s, *ends)

    def _said(self, job: Arrival, vector: Vector) -> tuple[Vector, Matrix]:
        """The job, and what each model says of it."""
        return vector, self._models.said(vector, _groups(job), job.spec.walltime_s is not None)

    def _look(self, job: Arrival) -> _Open:
        """The job in the light of what is known now; the moment of its submission stays what it was."""
        vector = self._history.look(job)
        known = self._open.get(job.job_id)
        if known is not None:
            vector[ARRIVAL_PLACES] = known.vector[ARRIVAL_PLACES]
            known.vector, known.said = self._said(job, vector)
            return known
        self._history.arrived(job)
        self._open[job.job_id] = found = _Open(job.owner.user, *self._said(job, vector))
        self._open_of.setdefault(job.owner.user, {})[job.job_id] = None
        if len(self._open) > OPEN_MAX:
            self._close(next(iter(self._open)))
        return found

    def dump(self) -> bytes:
        """What was learned, for `load`. Jobs that have not ended are left out."""
        models = {"models": self._models.stored(), "chances": self._chances.stored()}
        return packed({"history": self._history.stored(), **models, "learned_count": self._learned_count})

    def load(self, content: bytes) -> None:
        """Go on from there. Raises InvalidInput if that is not what `dump` gave."""
        learned = unpacked(content)
        history, models, chances = History(), Models(TAUS), Chances(2, SIZE)
        try:
            history.restore(learned["history"])
            models.restore(learned["models"])
            chances.restore(learned["chances"])
            learned_count = int(learned["learned_count"])
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput([not_ours(str(error))]) from None
        self._history, self._models, self._chances = history, models, chances
        self._learned_count = learned_count

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        users = dict.fromkeys(outcome.arrival.owner.user for outcome in outcomes)
        for outcome in outcomes:
            self._learn(outcome)
        return [job_id for user in users for job_id in islice(self._open_of.get(user, ()), AGAIN_MAX)]

    def _learn(self, outcome: Outcome) -> None:
        job = outcome.arrival
        known = self._open.get(job.job_id)
        vector, said = (known.vector, known.said) if known else self._said(job, self._history.look(job))
        target = math.log1p(outcome.runtime_s) - math.log1p(limit_of(job))
        groups = _groups(job)
        together = self._models.learn(vector, said, target, groups)
        self.drift.update(abs(target - float(together[MEDIAN])))
        self._chances.learn(vector, ends_badly(outcome.end), groups)
        self._history.ended(outcome, known is not None)
        self._learned_count += 1
        if known is not None and job.spec.array is None:  # Of an array more elements will end.
            self._close(job.job_id)

    def _close(self, job_id: JobId) -> None:
        user = self._open.pop(job_id).user
        its = self._open_of[user]
        del its[job_id]
        if not its:
            del self._open_of[user]


def time_of(relative: float, limit_s: float, is_limited: bool) -> float:
    """Seconds of a logarithm relative to the limit's. What reaches the limit is the limit to the last second, so that a
    job that is killed there is covered."""
    if is_limited and relative >= 0.0:
        return limit_s
    time_s = math.expm1(min(max(relative + math.log1p(limit_s), 0.0), LOG_MAX))
    return min(time_s, limit_s) if is_limited else time_s  # the two logarithms do not cancel to the last digit


def _groups(job: Arrival) -> Groups:
    """From the largest to the smallest: who is new in one is known in the one before."""
    account, user = job.spec.account, job.owner.user
    own: Groups = (user, (user, kind_of(job)))
    return (("account", account), *own) if account else own
