"""The engines of the backfill plugin that properties are tried with, by name."""

from __future__ import annotations

from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs

ENGINES = {
    "fcfs": Fcfs,
    "easy": Easy,
    "easy-sjbf": lambda: Easy(is_shortest_first=True),
    "slack": lambda: Easy(slack=0.5),
    "conservative": Conservative,
    "reserve": lambda: Conservative(promise_max=2),
    "hal": lambda: Expansion(60.0, 1e9),
}
