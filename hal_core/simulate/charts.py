"""The report's charts, each from plain numbers to one SVG picture. Policies have the same colour everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hal_core.models.plural import plural
from hal_core.sim.reliability import Group
from hal_core.simulate import marks
from hal_core.simulate.marks import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Scale
from hal_core.simulate.resampling import Difference
from hal_core.simulate.series import Bar, Span

COLOURS = 8
"""More policies begin again with the first colour."""
WAIT_CLASSES = (
    (60.0, "up to a minute"),
    (3600.0, "1 h"),
    (21_600.0, "6 h"),
    (86_400.0, "1 d"),
    (float("inf"), "longer"),
)
"""Colours of the window: waited so long at most."""


def colour(number: int) -> str:
    return f"c{number % COLOURS}"


def over_time(series: Mapping[str, Sequence[float]], span: Span, title: str, is_share: bool) -> str:
    """One line of steps for each policy."""
    height = 230.0
    bottom = height - BOTTOM
    x = Scale(span.begin_s, span.end_s, LEFT, WIDTH - RIGHT)
    most = max((max(values, default=0.0) for values in series.values()), default=0.0)
    y = Scale(0.0, 1.0 if is_share else max(most, 1.0) * 1.05, bottom, TOP)
    ticks = [(tick, f"{tick:.0%}" if is_share else f"{tick:g}") for tick in y.ticks(4)]
    drawn = [marks.axis_left(y, ticks), marks.axis_bottom(x, marks.time_ticks(x), bottom)]
    for number, values in enumerate(series.values()):
        d = marks.steps(values, x, y)
        if len(series) == 1:
            drawn.append(marks.path(f"M{LEFT} {bottom:g}L{d[1:]}V{bottom:g}Z", f"area {colour(number)}"))
        drawn.append(marks.path(d, f"line {colour(number)}"))
    return marks.svg(height, title, drawn)


def columns(groups: Mapping[str, Sequence[tuple[int, float]]], names: Sequence[str], title: str) -> str:
    """For each group the mean wait under each policy, side by side: (how many jobs, seconds)."""
    height = 250.0
    bottom = height - BOTTOM - 14
    most = max((wait for rows in groups.values() for _, wait in rows), default=1.0)
    y = Scale(0.0, max(most, 1.0) * 1.05, bottom, TOP)
    drawn = [marks.axis_left(y, marks.duration_ticks(y))]
    wide = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    each = min(34.0, wide * 0.8 / max(len(names), 1))
    for place, (group, rows) in enumerate(groups.items()):
        middle = LEFT + (place + 0.5) * wide
        for number, (count, wait) in enumerate(rows):
            left = middle + (number - len(rows) / 2) * each
            tip = f"{names[number]}, {group}: {marks.duration(wait)} on average over {plural(count, 'job')}"
            top = min(y(wait), bottom - 1.0)
            drawn.append(marks.box((left + 1, top), (each - 2, bottom - top), f"fill {colour(number)}", tip))
        job_count = max((count for count, _ in rows), default=0)
        drawn.append(marks.text((middle, bottom + 16), group, "tick", "middle"))
        drawn.append(
            marks.text((middle, bottom + 30), f"{job_count:,} job{'' if job_count == 1 else 's'}", "faint", "middle")
        )
    drawn.append(marks.line((LEFT, bottom), (WIDTH - RIGHT, bottom), "axis"))
    return marks.svg(height, title, drawn)


def intervals(rows: Sequence[tuple[str, int, Difference]], title: str) -> str:
    """(what, number of the policy, difference): a dot with its interval for each row, and the line of no difference."""
    row_px, left = 30.0, 250.0
    height = TOP + row_px * len(rows) + BOTTOM
    values = [value for _, _, each in rows for value in (each.low, each.high, 0.0)]
    low, high = min(values), max(values)
    margin = max((high - low) * 0.08, 0.01)
    x = Scale(low - margin, high + margin, left, WIDTH - RIGHT - 70)
    bottom = TOP + row_px * len(rows)
    drawn = []
    for tick in x.ticks(6):
        drawn.append(marks.line((x(tick), TOP), (x(tick), bottom), "grid"))
        drawn.append(marks.text((x(tick), bottom + 18), f"{tick:+.0%}" if tick else "0", "tick", "middle"))
    drawn.append(marks.line((x(0.0), TOP - 6), (x(0.0), bottom + 4), "zero"))
    for place, (words, number, each) in enumerate(rows):
        y = TOP + (place + 0.5) * row_px
        tip = f"{words}: {each.value:+.1%}, 95 % interval {each.low:+.1%} to {each.high:+.1%}"
        drawn.append(marks.text((left - 16, y + 4), words, "", "end"))
        drawn.append(marks.line((x(each.low), y), (x(each.high), y), f"whisker {colour(number)}"))
        ends = (x(each.low), x(each.high))
        drawn += [marks.line((end, y - 5), (end, y + 5), f"whisker {colour(number)}") for end in ends]
        drawn.append(marks.dot((x(each.value), y), f"fill {colour(number)}", tip))
        kind = "strong" if each.is_sure else "faint"
        drawn.append(marks.text((WIDTH - RIGHT, y + 4), f"{each.value:+.1%}", kind, "end"))
    return marks.svg(height, title, drawn)


def calibration(shares: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """For each policy (what was meant to be covered, what was): on the diagonal they are the same."""
    height = 260.0
    bottom = height - BOTTOM
    x = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT)
    y = Scale(0.0, 1.0, bottom, TOP)
    drawn = [marks.axis_left(y, [(tick, f"{tick:.0%}") for tick in (0.0, 0.1, 0.5, 0.9, 1.0)])]
    drawn.append(marks.axis_bottom(x, [(tick, f"p{tick * 100:.0f}") for tick in (0.1, 0.5, 0.9)], bottom))
    drawn.append(marks.line((x(0.0), y(0.0)), (x(1.0), y(1.0)), "zero"))
    for number, (name, points) in enumerate(shares.items()):
        aside = 12.0 * (number - (len(shares) - 1) / 2)
        for meant, found in points:
            tip = f"{name}: {found:.1%} of the jobs ran no longer than their p{meant * 100:.0f}"
            drawn.append(marks.dot((x(meant) + aside, y(found)), f"fill {colour(number)}", tip))
    return marks.svg(height, title, drawn)


def reliability(groups: Mapping[str, Sequence[Group]], title: str) -> str:
    """For each policy how likely it was said to be, and how often it happened: on the diagonal they are the same."""
    height = 260.0
    bottom = height - BOTTOM
    x = Scale(0.0, 1.0, LEFT, WIDTH - RIGHT)
    y = Scale(0.0, 1.0, bottom, TOP)
    ticks = [(tick, f"{tick:.0%}") for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
    drawn = [marks.axis_left(y, ticks), marks.axis_bottom(x, ticks, bottom)]
    drawn.append(marks.line((x(0.0), y(0.0)), (x(1.0), y(1.0)), "zero"))
    for number, (name, dots) in enumerate(groups.items()):
        for each in dots:
            tip = f"{name}: said {each.said:.1%} of {plural(each.count, 'job')}, happened to {each.happened:.1%}"
            drawn.append(marks.dot((x(each.said), y(each.happened)), f"fill {colour(number)}", tip))
    return marks.svg(height, title, drawn)


def gantt(bars: Sequence[Bar], window: tuple[float, float], processors: int, title: str) -> str:
    """Processors from bottom to top, time from left to right, each job as wide and as long as it was."""
    height = 260.0
    bottom = height - BOTTOM
    x = Scale(*window, LEFT, WIDTH - RIGHT)
    y = Scale(0.0, float(processors), bottom, TOP)
    ticks = [(tick, f"{tick:g}") for tick in y.ticks(4)]
    drawn = [marks.axis_left(y, ticks)]
    for bar in bars:
        begin = x(max(bar.start_s, window[0]))
        end = x(min(bar.start_s + bar.job.run_s, window[1]))
        wait_s = bar.start_s - bar.job.submit_s
        name = bar.job.label or str(bar.job.number)
        tip = f"job {name} of {bar.job.user}: {bar.job.processors} processors, waited {marks.duration(wait_s)}, "
        tip += f"ran {marks.duration(bar.job.run_s)}"
        kind = f"job w{wait_class(wait_s)}"
        for low, high in bar.rows:
            drawn.append(marks.box((begin, y(high)), (max(end - begin, 0.6), y(low) - y(high)), kind, tip))
    drawn.append(marks.axis_bottom(x, marks.time_ticks(x), bottom))
    return marks.svg(height, title, drawn)


def wait_class(wait_s: float) -> int:
    return next(number for number, (most_s, _) in enumerate(WAIT_CLASSES) if wait_s <= most_s)
