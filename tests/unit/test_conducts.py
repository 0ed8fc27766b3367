"""What plugins cost and did wrong, as the walls around them tell it."""

from __future__ import annotations

from hal_core.kernel.conducts import PROBLEM_CHARACTERS_MAX, Conducts
from hal_core.models.plugin import Conduct, PluginListing, PluginStatus, Provided


def conducts() -> Conducts:
    return Conducts(lambda: 5.0)


def test_costs_add_up_and_the_last_problem_is_kept() -> None:
    seen = conducts()
    seen.spent("engine", "easy", 0.5)
    seen.spent("engine", "easy", 0.25, call_count=2)
    seen.wrong("engine", "easy", "first")
    seen.wrong("engine", "easy", "x" * 10_000)
    assert seen.of("engine", "easy") == Conduct(3, 0.75, 2, "x" * PROBLEM_CHARACTERS_MAX, 5.0)
    assert seen.of("engine", "other") == Conduct()


def test_only_what_was_called_is_told_of() -> None:
    seen = conducts()
    seen.wrong("executor", "metal", "gone")
    provides = (Provided("executor", "metal", ""), Provided("locality", "metal", ""))
    (told,) = seen.told([PluginListing("metal", "m", "d", "1", PluginStatus.LOADED, provides=provides)])
    assert [each.conduct for each in told.provides] == [Conduct(0, 0.0, 1, "gone", 5.0), None]
