"""How likely a job is to end badly: probabilities by logistic regression, learned from one end after the other.

The loss is that of the logarithms of what was said of what then happened, which is least for the true probability: who
is told one in five, in the long run sees it in one of five.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hal_plugin_ml.linear import Groups, Linear, Vector

LOGIT_MAX: Final = 8.0
"""Nothing is ever said to be surer than three in ten thousand."""


class Chances(Linear):
    """One probability for each thing that may happen; a half until something was learned."""

    def predict(self, vector: Vector, groups: Groups = ()) -> Vector:
        return _probability(self.say(vector, groups))

    def learn(self, vector: Vector, happened: Sequence[bool], groups: Groups = ()) -> None:
        """One step along the slope of the logarithmic loss, for each thing."""
        found, scaled = self.look(vector, groups)
        self.step(scaled, _probability(found) - np.array(happened), groups)


def _probability(logits: Vector) -> Vector:
    found: Vector = 1.0 / (1.0 + np.exp(-np.clip(logits, -LOGIT_MAX, LOGIT_MAX)))
    return found
