"""The report: one HTML page with everything in it, so that it can be mailed, archived and read offline.

No script and nothing from outside; pictures are SVG (charts.py), numbers under the pointer are the browser's own tips.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from hal_core.sim.figures import Figures, figures_of
from hal_core.simulate import charts, series
from hal_core.simulate.marks import duration
from hal_core.simulate.resampling import Difference, Pairs, difference_of_slowdowns, difference_of_waits
from hal_core.simulate.style import STYLE

if TYPE_CHECKING:
    from hal_core.simulate import Run

METHOD = (
    "The first policy is the one that the others are compared with. Both ran the same jobs, so the differences of "
    "single jobs are resampled: in blocks of a week (of a twentieth of the trace, if that is less), because jobs that "
    "came close together waited for the same reasons; 2,000 times; with replicas, each block from any of them. The bar "
    "is the middle 95 % of the resampled means. Where it does not reach zero, chance hardly explains the difference."
)
FOOTER = (
    "Wait is start less submission. Bounded slow-down is max(1, (wait + run time) / max(run time, 10&nbsp;s)). Used is "
    "the processor time that jobs took of what there was from the first submission to the last end. Means are over all "
    "jobs. Made by <code>hal simulate</code> with the engines that schedule a cluster under HAL."
)


def write_page(arguments: Namespace, runs: Sequence[Run]) -> None:
    """Write the report, whole or not at all. Raises OSError."""
    path = Path(arguments.report)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(page_of(arguments, runs), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def page_of(arguments: Namespace, runs: Sequence[Run]) -> str:
    traces = list(dict.fromkeys(run.trace for run in runs))
    names = ", ".join(_short(trace) for trace in traces)
    body = "".join(_trace_part(trace, [run for run in runs if run.trace == trace], arguments) for trace in traces)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(names)}: what other policies would have done</title><style>{STYLE}</style></head><body><main>"
        f"<header><p class=over>HAL, replay</p><h1>What would another policy have done?</h1>{_how(arguments)}</header>"
        f"{body}<footer>{FOOTER}</footer></main></body></html>\n"
    )


def _how(arguments: Namespace) -> str:
    facts = [
        ("estimates", arguments.estimates),
        ("correction", arguments.correction),
        ("events of an instant", arguments.event_order),
        ("replicas", f"{arguments.replicas}, shaken by {arguments.shake:g} s" if arguments.replicas > 1 else "1"),
        ("cluster", arguments.cluster or "as the trace says"),
    ]
    return (
        "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts) + "</dl>"
    )


def _trace_part(trace: str, runs: Sequence[Run], arguments: Namespace) -> str:
    policies = list(dict.fromkeys(run.policy for run in runs))
    first = [run for run in runs if run.replica == 0]
    span = series.Span.of(first)
    what = (
        f"{len(first[0].jobs):,} jobs on {first[0].processors:,} processors over {duration(span.end_s - span.begin_s)}"
    )
    parts = [
        f"<section><h2>{escape(_short(trace))}</h2>",
        f"<p>{what}; {first[0].skipped:,} lines or jobs were not used.</p>",
        _legend(policies),
        _table(policies, runs),
    ]
    if len(policies) > 1:
        parts.append(_differences(policies, runs, arguments.seed))
    parts += _over_time(first, span)
    parts += _by_class(first, policies)
    if any(each.p10_s < each.p90_s for run in first for each in run.foretold):
        parts.append(_calibration(first))
    parts += _ends(first)
    parts += _window(first)
    return "".join(parts) + "</section>"


def _legend(policies: Sequence[str]) -> str:
    keys = (f'<span><i class="key {charts.colour(at)}"></i>{escape(name)}</span>' for at, name in enumerate(policies))
    return f'<p class="legend">{"".join(keys)}</p>'


# -- the table ---------------------------------------------------------------------------------------------------------


def _table(policies: Sequence[str], runs: Sequence[Run]) -> str:
    heads = ("policy", "jobs", "mean wait", "95 % waited less than", "longest wait", "slow-down", "used", "makespan")
    rows = [_row(name, [run.figures for run in runs if run.policy == name]) for name in policies]
    recorded = _recorded(runs[0])
    if recorded is not None:
        rows.append(_row("as it was", [recorded]))
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _row(name: str, figures: Sequence[Figures]) -> str:
    cells = (
        f"{figures[0].jobs:,}",
        duration(fmean(each.mean_wait_s for each in figures)),
        duration(fmean(each.p95_wait_s for each in figures)),
        duration(max(each.max_wait_s for each in figures)),
        f"{fmean(each.avg_bounded_slowdown for each in figures):,.2f}",
        f"{fmean(each.utilization for each in figures):.1%}",
        duration(fmean(each.makespan_s for each in figures)),
    )
    return f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _recorded(run: Run) -> Figures | None:
    """What the trace itself says of the waits, if it says it of all jobs."""
    if not run.jobs or any(job.recorded_wait_s < 0 for job in run.jobs):
        return None
    return figures_of(run.jobs, [job.submit_s + job.recorded_wait_s for job in run.jobs], run.processors)


# -- the pictures ------------------------------------------------------------------------------------------------------


def _figure(title: str, note: str, picture: str) -> str:
    return f"<figure><figcaption><h3>{escape(title)}</h3><p>{escape(note)}</p></figcaption>{picture}</figure>"


def _differences(policies: Sequence[str], runs: Sequence[Run], seed: int) -> str:
    rows: list[tuple[str, int, Difference]] = []
    base = {run.replica: run for run in runs if run.policy == policies[0]}
    for number, name in enumerate(policies[1:], 1):
        pairs = [Pairs(run.jobs, base[run.replica].start_s, run.start_s) for run in runs if run.policy == name]
        rows.append((f"{name}: mean wait", number, difference_of_waits(pairs, seed)))
        rows.append((f"{name}: slow-down", number, difference_of_slowdowns(pairs, seed)))
    title = f"Difference from {policies[0]}"
    picture = charts.intervals(rows, title)
    return (
        _figure(title, "Left of zero is better.", picture)
        + f"<details><summary>How sure?</summary><p>{METHOD}</p></details>"
    )


def _over_time(runs: Sequence[Run], span: series.Span) -> Iterator[str]:
    used = {run.policy: series.utilisation(run, span) for run in runs}
    yield _figure("Use of the machine", "Share of the processors.", charts.over_time(used, span, "use over time", True))
    queued = {run.policy: series.waiting(run, span) for run in runs}
    yield _figure("The queue", "Jobs that wait.", charts.over_time(queued, span, "waiting jobs over time", False))


def _by_class(runs: Sequence[Run], policies: Sequence[str]) -> Iterator[str]:
    by_size = [series.waits_by_size(run) for run in runs]
    sizes = {name: [found.get(name, (0, 0.0)) for found in by_size] for name in by_size[0]}
    yield _figure("Waits by size", "Mean wait by processors asked.", charts.columns(sizes, policies, "waits by size"))
    users = series.largest_users(runs[0].jobs)
    by_user = [series.waits_by_user(run, users) for run in runs]
    people = {user: [found.get(user, (0, 0.0)) for found in by_user] for user in users}
    note = f"Mean wait of the {len(users)} who used most, the largest first."
    yield _figure("Waits by user", note, charts.columns(people, policies, "waits by user"))


def _calibration(runs: Sequence[Run]) -> str:
    scores = "; ".join(
        f"{run.policy}: pinball loss {duration(run.scores.pinball)}, {run.scores.runtime_p90_coverage:.1%} within p90"
        for run in runs
    )
    note = f"Share of the jobs that ran no longer than was said when they came; well said is on the line. {scores}."
    shares = {run.policy: series.coverage(run) for run in runs}
    return _figure("Predicted run times", note, charts.calibration(shares, "calibration of predicted run times"))


def _ends(runs: Sequence[Run]) -> Iterator[str]:
    """How jobs end, where anything was said of that."""
    for what, name in (("run into the time limit", "time_outs"), ("fail by themselves", "failures")):
        found = {run.policy: each for run in runs if (each := getattr(run, name)) is not None}
        if found:
            scores = "; ".join(
                f"{policy}: skill {each.skill:.2f}, off by {each.calibration_error:.1%}"
                for policy, each in found.items()
            )
            note = f"How likely that was said to be, in ten groups of jobs, and how often it was so. {scores}."
            groups = {policy: each.groups for policy, each in found.items()}
            yield _figure(f"Jobs that {what}", note, charts.reliability(groups, f"reliability: jobs that {what}"))


def _window(runs: Sequence[Run]) -> Iterator[str]:
    window = series.busiest_window(runs[0])
    keys = "".join(
        f'<span><i class="key w{at}"></i>{words}</span>' for at, (_, words) in enumerate(charts.WAIT_CLASSES)
    )
    length = duration(window[1] - window[0])
    yield f"<h3>{length} around the longest queue, job by job</h3>"
    yield "<p>Each box is a job: as high as its processors, as long as it ran. A pool does not say which.</p>"
    yield f'<p class="legend"><span>waited</span>{keys}</p>'
    for run in runs:
        picture = charts.gantt(series.bars(run, window), window, run.processors, f"jobs under {run.policy}")
        yield f"<figure><figcaption><h4>{escape(run.policy)}</h4></figcaption>{picture}</figure>"


def _short(trace: str) -> str:
    return trace.rpartition("/")[2] or trace
