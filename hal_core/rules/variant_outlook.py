"""What becomes of a job in each of its variants: the engine run forward on an excerpt of the state, once for each; and
in words what they are and why one was chosen. Pure; the looking needs the live state, the running may be elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.explanation import VariantOutlook
from hal_core.models.node import PartitionName
from hal_core.models.variant import Variant
from hal_core.rules.array_ends import ArrayEnds, Left
from hal_core.rules.excerpt import Asked, Excerpt, as_it_would_be
from hal_core.rules.forecast import STEPS_MAX, Bound, Engine, Forecast, forecast

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State

SHOWN_MAX: Final = 8
"""Of many sizes so many are tried: the one chosen, the first, the last, and some between."""


@attrs.frozen(eq=False)
class Variation:
    """A job as it would be in one of its variants."""

    text: str
    is_chosen: bool
    asked: Asked
    site: str = ""
    left: Left | None = None
    """If it is an array."""

    def end_s(self, start_s: float) -> float:
        run_s = self.asked.row.expected_s
        return start_s + run_s if self.left is None else self.left.last_end_s(run_s, start_s)


def variations(state: State, record: JobRecord, now_s: float) -> tuple[Variation, ...]:
    """None for a job that asks for one set of amounts only."""
    spec = record.spec
    last = len(spec.variants) - 1
    some = range(0) if record.is_bound else range(SHOWN_MAX)
    numbers = {round(at * last / (SHOWN_MAX - 1)) for at in some} | {spec.variant} if spec.variants else ()
    ends = ArrayEnds(state, now_s)
    return tuple(
        Variation(
            variant_text(spec.variants[number]),
            number == spec.variant,
            as_it_would_be(state, record, now_s, spec.in_variant(number)),
            _site(state, spec.variants[number]),
            ends.left_of(record.with_spec(spec.in_variant(number))),
        )
        for number in sorted(numbers)
    )


def _site(state: State, variant: Variant) -> str:
    """The executor that has the nodes of the variant's partition, if it names one."""
    numbers = state.partition_numbers.get(PartitionName(variant.partition), ())
    return state.table.nodes[numbers[0]].executor if variant.partition and numbers else ""


def outlooks(part: Excerpt, tried: Sequence[Variation], engine: Engine, now_s: float) -> tuple[VariantOutlook, ...]:
    """When the job would start and end in each, if nothing else came in."""
    bound = Bound(steps_max=STEPS_MAX // max(len(tried), 1))
    found = []
    for each in tried:
        seen = forecast(part, engine, now_s, each.asked, bound)
        found.append(_outlook(each, seen, now_s))
    return tuple(found)


def _outlook(tried: Variation, seen: Forecast, now_s: float) -> VariantOutlook:
    start_s = seen.start_time_s
    run_s = tried.asked.row.expected_s if start_s is None else tried.end_s(start_s) - start_s
    known_run_s = run_s if run_s < math.inf else None
    if start_s is None:
        return VariantOutlook(tried.text, tried.is_chosen, None, None, site=tried.site, run_s=known_run_s)
    return VariantOutlook(
        text=tried.text,
        is_chosen=tried.is_chosen,
        start_time_s=start_s,
        end_time_s=start_s + run_s if run_s < math.inf else None,
        nodes=seen.nodes,
        site=tried.site,
        wait_s=start_s - seen.queue_s - now_s,
        queue_s=seen.queue_s,
        run_s=known_run_s,
    )


def first_to_end(found: Sequence[VariantOutlook]) -> VariantOutlook:
    """The one that ends first; of those of which that cannot be said, the one that starts first."""

    def order(each: VariantOutlook) -> tuple[float, float]:
        times_s = (each.end_time_s, each.start_time_s)
        end_s, start_s = (math.inf if time_s is None else time_s for time_s in times_s)
        return end_s, start_s

    return min(found, key=order)


def variant_text(variant: Variant) -> str:
    """`2 nodes, 8 CPUs, 1 GPU, at most 3600 s`: what the whole job takes."""
    gpus = variant.gpus_per_node * variant.node_count or variant.gpu_milli / 1000
    parts = [_counted(variant.node_count, "node"), _counted(variant.task_count * variant.cpus_per_task, "CPU")]
    parts += [_counted(gpus, f"{variant.gpu_type} GPU".lstrip())] if gpus else []
    parts += [] if variant.walltime_s is None else [f"at most {variant.walltime_s:.0f} s"]
    parts += [f"partition {variant.partition}"] if variant.partition else []
    return ", ".join(parts)


def _counted(count: float, noun: str) -> str:
    return f"{count:g} {noun}" + "s" * (count > 1)


def choice_text(record: JobRecord) -> str:
    """Which of its variants a job is planned, or runs, in, and why; the empty string if it has but one."""
    spec, choice = record.spec, record.choice
    if not spec.variants:
        return ""
    text = f"{variant_text(spec.variants[spec.variant])}; one of {len(spec.variants)} that it may run with"
    if choice is None:
        return f"{text}, the first that was asked for"
    if choice.expected_end_s is None:
        return f"{text}, chosen because it could start with these"
    if choice.otherwise_s is None:
        return f"{text}, chosen because it had no promise of a start as it was"
    return f"{text}, chosen because it is expected to end {choice.otherwise_s - choice.expected_end_s:.0f} s sooner"
