"""The report of a shadow: one HTML page that needs nothing else, as that of `hal simulate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from hal_core.shadow.comparison import Comparison, Group, Waited
from hal_core.simulate.marks import duration
from hal_core.simulate.style import STYLE

HEADS: Final = ("jobs", "mean", "with HAL", "95 % waited less than", "with HAL", "sooner", "later", "same")
JOB_HEADS: Final = ("user", "partition", "waited", "with HAL", "difference", "why it waited there", "settled")
METHOD: Final = (
    "Each job came to HAL when it was ready there, ran as long as it ran there, and found the same nodes closed. Waits "
    "are counted to the last look, for jobs that have not started too. Sooner and later are with HAL; less than half a "
    "minute is the same. A decision is settled if nothing that is still to be seen can change it; in the others, jobs "
    "that have not ended are taken to run until their limit. Made by <code>hal shadow report</code> with the engine "
    "that schedules a cluster under HAL; nothing was changed in the scheduler that was followed."
)


def page_of(found: Comparison) -> str:
    name = escape(found.scheduler)
    parts = [
        _table(f"All jobs, {name} and HAL", "", [found.total]),
        _table("By user", "user", found.by_user),
        _table("By partition", "partition", found.by_partition),
        _table(f"By why they waited in {name}", "reason", found.by_reason),
        _largest(found.largest),
        _left_out(found),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: what HAL would have done</title><style>{STYLE}</style></head><body><main>"
        f"<header><p class=over>HAL, shadow</p><h1>What would HAL have done?</h1>{_facts(found)}</header>"
        f"{''.join(parts)}<footer>{METHOD}</footer></main></body></html>\n"
    )


def _facts(found: Comparison) -> str:
    unseen_s = sum(end_s - begin_s for begin_s, end_s in found.gaps)
    facts = [
        ("followed", found.scheduler),
        ("from", _instant(found.begin_s)),
        ("for", duration(found.end_s - found.begin_s)),
        ("of that unseen", f"{duration(unseen_s)} in {len(found.gaps)} gaps" if found.gaps else "nothing"),
        ("jobs", f"{found.total.count:,}"),
        ("settled", f"{found.settled:,}"),
    ]
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts) + "</dl>"


def _table(title: str, what: str, groups: Sequence[Group]) -> str:
    rows = ((escape(group.name), _cells(group)) for group in groups)
    return f"<section><h2>{title}</h2>{_rows(what, HEADS, rows)}</section>"


def _cells(group: Group) -> Iterator[str]:
    same = group.count - group.sooner - group.later
    yield f"{group.count:,}"
    yield from map(duration, (group.foreign.mean, group.hal.mean, group.foreign.p95, group.hal.p95))
    yield from (f"{count:,}" for count in (group.sooner, group.later, same))


def _largest(jobs: Sequence[Waited]) -> str:
    if not jobs:
        return ""
    rows = (
        (
            escape(job.job),
            (
                escape(job.user),
                escape(job.partition),
                _waited(job.foreign_s, job.has_foreign_started),
                _waited(job.hal_s, job.has_hal_started),
                f"{'-' if job.difference_s < 0 else '+'}{duration(abs(job.difference_s))}",
                escape(job.reason),
                "yes" if job.is_settled else "no",
            ),
        )
        for job in jobs
    )
    return f"<section><h2>The largest differences</h2>{_rows('job', JOB_HEADS, rows)}</section>"


def _waited(wait_s: float, has_started: bool) -> str:
    return duration(wait_s) if has_started else f"{duration(wait_s)}, and on"


def _left_out(found: Comparison) -> str:
    rows = ((escape(why), (f"{count:,}",)) for why, count in sorted(found.left_out.items()))
    return f"<section><h2>Not compared</h2>{_rows('why', ('jobs',), rows)}</section>" if found.left_out else ""


def _rows(first: str, heads: Sequence[str], rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in (first, *heads))
    body = "".join(f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, cells in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _instant(time_s: float) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M} UTC"
