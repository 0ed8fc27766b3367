"""The short version of the corruption campaign."""

from __future__ import annotations

import random

from tests.campaigns.corruption import Corruption


def test_damage_is_never_a_silent_difference() -> None:
    corruption = Corruption(random.randrange(1 << 32))
    corruption.run(200)
    assert not corruption.problems
    assert corruption.outcomes.total() == 200
