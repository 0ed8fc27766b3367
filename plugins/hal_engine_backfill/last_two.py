"""The run-time predictor of EASY++: the mean of the last two jobs of the same user that have ended.

With fewer than two it knows nothing, and the limit is used. Tsafrir, Etsion and Feitelson, IEEE TPDS 18(6), 2007.
"""

from __future__ import annotations

from collections.abc import Sequence

from hal_core import JobSpec, Owner, Prediction


class LastTwo:
    """Remembers two run times for each user."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}
        self._first: dict[str, float] = {}

    def predict(self, specs: Sequence[tuple[Owner, JobSpec]]) -> Sequence[Prediction | None]:
        return [self._predict(owner) for owner, _ in specs]

    def _predict(self, owner: Owner) -> Prediction | None:
        last = self._last.get(owner.user)
        if last is None:
            return None
        mean_s = float((last[0] + last[1]) // 2)
        return Prediction(mean_s, mean_s, mean_s)

    def learn(self, owner: Owner, spec: JobSpec, runtime_s: float) -> None:
        before = self._last.get(owner.user)
        if before is not None:
            self._last[owner.user] = (before[1], runtime_s)
        elif owner.user in self._first:
            self._last[owner.user] = (self._first.pop(owner.user), runtime_s)
        else:
            self._first[owner.user] = runtime_s
