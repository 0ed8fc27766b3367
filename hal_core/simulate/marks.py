"""The marks that charts are made of: scales, axes and shapes, as SVG text.

Everything is drawn in one coordinate system, 960 wide. Colours are names of the page's style sheet, so that a chart
follows the light or dark of its reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

import attrs

WIDTH = 960
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 34
DAY_S = 86_400
UNITS = (("d", DAY_S), ("h", 3600), ("min", 60), ("s", 1))
EPOCH_S_MIN = 1e8
"""Later times are dates; smaller ones count from the beginning of the trace."""


@attrs.frozen
class Scale:
    """Values to pixels."""

    low: float
    high: float
    from_px: float
    to_px: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return round(self.from_px + share * (self.to_px - self.from_px), 1)

    def ticks(self, count: int = 5) -> list[float]:
        """About so many round numbers within."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / count
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def duration(seconds: float) -> str:
    """As people say it, in its two largest units: 12 s, 5 min 10 s, 1 h 54 min, 3 d 1 h."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, unit_s in UNITS:
        count, rest = divmod(left, unit_s)
        if count or parts:
            parts.append(f"{count} {unit}")
        left = rest
    return " ".join(part for part in parts[:2] if part[:2] != "0 ")


def duration_ticks(scale: Scale, count: int = 4) -> list[tuple[float, str]]:
    """Round numbers of a round unit."""
    unit, unit_s = next((each for each in UNITS if scale.high >= 2 * each[1]), UNITS[-1])
    rounded = attrs.evolve(scale, low=scale.low / unit_s, high=scale.high / unit_s)
    return [(tick * unit_s, f"{tick:g} {unit}") for tick in rounded.ticks(count)]


def time_ticks(scale: Scale) -> list[tuple[float, str]]:
    """Dates where the times are dates, else days or hours since the beginning."""
    span_s = scale.high - scale.low
    if scale.low < EPOCH_S_MIN:
        since = attrs.evolve(scale, low=0.0, high=span_s)
        return [(scale.low + tick, words) for tick, words in duration_ticks(since, 8)]
    unit_s = next(unit for unit in (7 * DAY_S, DAY_S, 6 * 3600, 3600, 600, 60, 1) if span_s >= 3 * unit or unit == 1)
    step_s = unit_s * max(1, math.ceil(span_s / unit_s / 7))
    first = math.ceil(scale.low / step_s) * step_s
    form = "%Y-%m-%d" if unit_s >= DAY_S else "%m-%d %H:%M"
    ticks: list[tuple[float, str]] = []
    while first <= scale.high:
        ticks.append((first, datetime.fromtimestamp(first, UTC).strftime(form)))
        first += step_s
    return ticks


# -- shapes ------------------------------------------------------------------------------------------------------------


def svg(height: float, title: str, marks: Iterable[str]) -> str:
    """A picture; `title` is what a screen reader says."""
    body = "".join(marks)
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">{body}</svg>'


def text(at: tuple[float, float], words: str, kind: str = "", anchor: str = "start") -> str:
    x, y = at
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(begin: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    return f'<line x1="{begin[0]:g}" y1="{begin[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" class="{kind}"/>'


def box(corner: tuple[float, float], size: tuple[float, float], kind: str, tip: str = "") -> str:
    """A rectangle; `tip` appears when the pointer rests on it."""
    x, y = corner
    width, height = (max(each, 0.0) for each in size)
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{kind}"'
    return f"{shape}><title>{escape(tip)}</title></rect>" if tip else f"{shape}/>"


def dot(at: tuple[float, float], kind: str, tip: str) -> str:
    return f'<circle cx="{at[0]:g}" cy="{at[1]:g}" r="5" class="{kind}"><title>{escape(tip)}</title></circle>'


def steps(values: Sequence[float], x: Scale, y: Scale) -> str:
    """A line of steps, one for each bin of the scale `x`, as the `d` of a path."""
    width = (x.high - x.low) / len(values)
    parts: list[str] = []
    for number, value in enumerate(values):
        height = y(value)
        left, right = x(x.low + number * width), x(x.low + (number + 1) * width)
        parts.append(f"{'L' if parts else 'M'}{left:g} {height:g}H{right:g}")
    return "".join(parts)


def path(d: str, kind: str) -> str:
    return f'<path d="{d}" class="{kind}"/>'


def axis_left(scale: Scale, ticks: Iterable[tuple[float, str]]) -> str:
    """Lines across the chart with their values at the left."""
    marks = []
    for value, words in ticks:
        y = scale(value)
        marks.append(line((LEFT, y), (WIDTH - RIGHT, y), "grid"))
        marks.append(text((LEFT - 8, y + 4), words, "tick", "end"))
    return "".join(marks)


def axis_bottom(scale: Scale, ticks: Iterable[tuple[float, str]], y: float) -> str:
    marks = [line((LEFT, y), (WIDTH - RIGHT, y), "axis")]
    for value, words in ticks:
        x = scale(value)
        marks.append(line((x, y), (x, y + 4), "axis"))
        anchor = "end" if x > WIDTH - RIGHT - 30 else "middle"
        marks.append(text((x, y + 18), words, "tick", anchor))
    return "".join(marks)
