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
from hal_plugin_ml.chances import probabilities
from hal_plugin_ml.drift import DriftWatch
from hal_plugin_ml.history import History, Moment, Traits, ends_badly
from hal_plugin_ml.linear import Vector
from hal_plugin_ml.models import LOG_MAX, Models, Said
from hal_plugin_ml.storing import not_ours, packed, unpacked

TAUS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Evenly spread, so that the mean of the quantiles is about that of the run times."""
MEDIAN: Final = 2
WAY_COUNT: Final = 2
"""To end badly: a job runs into its limit, or fails by itself (history.ends_badly)."""
AGAIN_MAX: Final = 50
"""So many open jobs of a user, the oldest, are looked at again when one ends: some have a thousand, and what is learned
of the next ones in time is enough."""
OPEN_MAX: Final = 200_000
"""Jobs that came and did not end yet; of older ones nothing is learned."""


@attrs.define
class _Open:
    """A job that came and has not ended."""

    traits: Traits
    moment: Moment
    vector: Vector
    said: Said


class MlPredictor:
    """Implements planes.Predictor."""

    def __init__(self) -> None:
        self._history = History()
        self._models = Models(TAUS, WAY_COUNT)
        self._open: dict[JobId, _Open] = {}
        self._open_of: dict[str, dict[JobId, None]] = {}
        self._learned_count = 0
        self.drift = DriftWatch()

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        return [self._answer(self._look(job)) for job in jobs]

    def foretell(self, job: Arrival) -> Prediction | None:
        """As `predict`, of a job that has not come."""
        return self._answer(self._seen(job))

    def _answer(self, known: _Open) -> Prediction | None:
        if not self._learned_count:
            return None
        job, said = known.traits, known.said
        times_s = [time_of(each, job.limit_s, job.is_limited) for each in self._models.together(said, job.groups)]
        mean_s = min(max(sum(times_s) / len(times_s), 1.0), times_s[-1])
        time_out, failure = probabilities(said.logits)
        ends = (time_out if job.is_limited else 0.0, failure)
        return Prediction(times_s[0], times_s[MEDIAN], times_s[-1], None, mean_s, *ends)

    def _seen(self, job: Arrival) -> _Open:
        """A job that comes now, in the light of what is known. Changes nothing."""
        traits = Traits.of(job)
        moment = self._history.moment(traits, job.submit_time_s)
        return _Open(traits, moment, *self._said(traits, moment))

    def _said(self, job: Traits, moment: Moment) -> tuple[Vector, Said]:
        """The job, and what each model says of it."""
        vector = self._history.look(job, moment)
        return vector, self._models.said(vector, job.groups, job.is_limited)

    def _look(self, job: Arrival) -> _Open:
        """The job in the light of what is known now; the moment of its submission stays what it was."""
        known = self._open.get(job.job_id)
        if known is not None:
            known.vector, known.said = self._said(known.traits, known.moment)
            return known
        self._open[job.job_id] = found = self._seen(job)
        self._history.arrived(found.traits, job.submit_time_s)
        self._open_of.setdefault(job.owner.user, {})[job.job_id] = None
        if len(self._open) > OPEN_MAX:
            self._close(next(iter(self._open)))
        return found

    def dump(self) -> bytes:
        """What was learned, for `load`. Jobs that have not ended are left out."""
        models = {"history": self._history.stored(), "models": self._models.stored()}
        return packed({**models, "learned_count": self._learned_count})

    def load(self, content: bytes) -> None:
        """Go on from there. Raises InvalidInput if that is not what `dump` gave."""
        learned = unpacked(content)
        history, models = History(), Models(TAUS, WAY_COUNT)
        try:
            history.restore(learned["history"])
            models.restore(learned["models"])
            learned_count = int(learned["learned_count"])
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput([not_ours(str(error))]) from None
        self._history, self._models = history, models
        self._learned_count = learned_count

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        users = dict.fromkeys(outcome.arrival.owner.user for outcome in outcomes)
        for outcome in outcomes:
            self._learn(outcome)
        return [job_id for user in users for job_id in islice(self._open_of.get(user, ()), AGAIN_MAX)]

    def _learn(self, outcome: Outcome) -> None:
        job_id = outcome.arrival.job_id
        known = self._open.get(job_id)
        seen = known or self._seen(outcome.arrival)
        job = seen.traits
        target = math.log1p(outcome.runtime_s) - job.log_limit
        together = self._models.learn(seen.vector, seen.said, (target, ends_badly(outcome.end)), job.groups)
        self.drift.update(abs(target - float(together[MEDIAN])))
        self._history.ended(job, outcome, known is not None)
        self._learned_count += 1
        if known is not None and outcome.arrival.spec.array is None:  # Of an array more elements will end.
            self._close(job_id)

    def _close(self, job_id: JobId) -> None:
        user = self._open.pop(job_id).traits.user
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
