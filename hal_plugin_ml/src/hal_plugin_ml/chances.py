"""How likely a job is to end badly: probabilities by logistic regression, learned from one end after the other.

The loss is that of the logarithms of what was said of what then happened, which is least for the true probability: who
is told one in five, in the long run sees it in one of five.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from hal_plugin_ml.linear import Groups, Linear, Vector

LOGIT_MAX: Final = 8.0
"""Nothing is ever said to be surer than three in ten thousand."""


class Chances(Linear):
    """One probability for each thing that may happen; a half until something was learned."""

    def predict(self, vector: Vector, groups: Groups = ()) -> list[float]:
        return _probabilities(self.say(vector, groups))

    def learn(self, vector: Vector, happened: Sequence[bool], groups: Groups = ()) -> None:
        """One step along the slope of the logarithmic loss, for each thing."""
        found, scaled = self.look(vector, groups)
        slopes = [said - each for said, each in zip(_probabilities(found), happened, strict=True)]
        self.step(scaled, np.array(slopes), groups)


def _probabilities(logits: Vector) -> list[float]:
    """Of a few numbers: one by one is quicker than numpy."""
    return [1.0 / (1.0 + math.exp(-min(max(each, -LOGIT_MAX), LOGIT_MAX))) for each in logits.tolist()]
