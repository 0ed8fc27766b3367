"""How likely a job is to end badly: probabilities by logistic regression.

The loss is that of the logarithms of what was said of what then happened, which is least for the true probability: who
is told one in five, in the long run sees it in one of five.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

LOGIT_MAX: Final = 8.0
"""Nothing is ever said to be surer than three in ten thousand."""


def probabilities(logits: Sequence[float]) -> list[float]:
    """Of a few numbers: one by one is quicker than numpy."""
    return [1.0 / (1.0 + math.exp(-min(max(each, -LOGIT_MAX), LOGIT_MAX))) for each in logits]


def slopes(logits: Sequence[float], happened: Sequence[bool]) -> list[float]:
    """Of the loss of what was said of each thing that may happen, when it did or did not."""
    return [said - each for said, each in zip(probabilities(logits), happened, strict=True)]
