"""Self-tuning in the configuration: which policies may come into force by themselves, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import attrs

from hal_core.config.kinds import MapOf, Options, Text, setting
from hal_core.models.tuning import Bounds
from hal_core.parsing.durations import format_interval, parse_interval
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import parse_count

_BOUNDS: Final = Bounds()
EVERY_S: Final = 1800.0


def _percent(most: int) -> Text:
    json = {"type": "integer", "minimum": 0, "maximum": most}
    return Text("per cent", lambda text: parse_count(text, 0, most) / 100, lambda share: str(round(share * 100)), json)


def _interval(least_s: int) -> Text:
    json = {"type": ["string", "integer"]}
    return Text("duration", partial(parse_interval, least_s=least_s), format_interval, json)


@attrs.frozen
class TuningSection:
    """Which engines may take the place of the configured one by themselves, and what they must not cost anybody."""

    engines: Mapping[str, Mapping[str, Any]] = setting(
        MapOf(parse_identifier, Options("options of the engine")),
        "engines to try beside the configured one: {hal: {}, conservative: {}}; empty: nothing is tuned",
        {},
    )
    every: float = setting(_interval(60), "how often they are tried on the queue as it is then", EVERY_S)
    gain: float = setting(
        _percent(90), "in per cent: the least of all waiting that a change must save", _BOUNDS.gain_min
    )
    worse: float = setting(
        _percent(1000),
        "in per cent: so much longer than with the configured engine may one job in a hundred, or a user's jobs, wait",
        _BOUNDS.worse_max,
    )
    grace: float = setting(_interval(0), "and so much beside that: what nobody minds waiting longer", _BOUNDS.grace_s)
    horizon: float = setting(_interval(60), "how far ahead a trial looks", _BOUNDS.horizon_s)

    def bounds(self) -> Bounds:
        return Bounds(self.gain, self.worse, self.grace, self.horizon)
