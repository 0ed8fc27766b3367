"""Why a job waits: the binding constraint by name and amount, what stands before it, and changes that would help.

Each suggestion is verified: the engine plans forward on an excerpt of the state in which the job asks for the changed
thing, and only what then starts sooner is told. The looking (`explain`, `question`) is quick and needs the live state;
the verifying (`verified`) may run elsewhere.
"""

from __future__ import annotations

import functools
import math
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING

import attrs

from hal_core.models.explanation import Constraint, Explanation, Suggestion
from hal_core.models.job import JobSpec, Shape
from hal_core.models.masks import mask_of
from hal_core.models.mixed import are_enough
from hal_core.models.node import Node, PartitionName
from hal_core.models.plural import listed, plural
from hal_core.rules.excerpt import Asked, Excerpt, as_it_would_be, excerpt
from hal_core.rules.forecast import STEPS_MAX, Bound, Engine, forecast
from hal_core.rules.pool_explain import pool_texts
from hal_core.rules.variant_outlook import Variation, choice_text, outlooks, variations
from hal_core.rules.waiting import Waiting

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State

AHEAD_SHOWN = 5
HOLDERS_SHOWN = 3
SUGGESTIONS_MAX = 3
NOTHING_WAITS = "nothing of it waits"
GAIN_S_MIN = 1.0
"""A change that gains less is not worth telling."""


def explain(state: State, record: JobRecord, now_s: float) -> Explanation:
    """All but the times, from the live state."""
    waiting = Waiting(state, now_s)
    reason = waiting.reason(record)
    shares = state.fair_shares(now_s)
    ahead_count = state.queue.count_before(record, now_s, shares) if record.is_queued else 0
    elsewhere_s = None if reason else _start_elsewhere_s(record)
    none = NOTHING_WAITS if elsewhere_s is None else "it waits in the queue of the scheduler that has its nodes"
    return Explanation(
        job_id=record.job_id,
        state=record.state.value,
        reason=reason.kind if reason else "",
        text=reason.text if reason else none,
        priority=tuple(state.queue.order.terms(record, now_s, shares)),
        ahead_count=ahead_count,
        ahead=tuple(islice(state.queue, min(ahead_count, AHEAD_SHOWN))),
        constraint=_binding(state, record, waiting) if record.is_queued else None,
        choice=choice_text(record),
        pools=pool_texts(state, record, now_s),
        start_time_s=elsewhere_s,
    )


def _start_elsewhere_s(record: JobRecord) -> float | None:
    """When the first of it is expected to start that was handed over to another scheduler and waits there."""
    waiting = (each.queued_start_s for each in record.active.values() if each.start_time_s is None)
    return min((start_s for start_s in waiting if start_s is not None), default=None)


def _binding(state: State, record: JobRecord, waiting: Waiting) -> Constraint | None:
    """A limit, if one lets nothing of the job start; else what is short."""
    hit = waiting.limit(record)
    if hit is None:
        return constraint(state, record)
    held: Counter[str] = Counter()
    for activity in state.allocations.values():
        if hit.tally in state.limits.of(activity.record.payer):
            held[activity.record.owner.user] += 1
    holders = ", ".join(f"{user} ({count} running)" for user, count in held.most_common(HOLDERS_SHOWN))
    return Constraint("limit", hit.tally.name(hit.what), 0, 1, f"{hit.text}; in use by {holders or 'past usage'}")


def constraint(state: State, record: JobRecord) -> Constraint | None:
    """The resource that the fewest nodes have enough of; None if enough nodes have room for everything."""
    shape = record.shape
    lack = state.limits.licences.lack(shape)
    if lack:
        return Constraint("licence", "licences", 0, 1, lack)
    parts = shape.parts
    for at, part in enumerate(parts):
        found = _constraint_of(state, part)
        if found is not None:
            text = f"component {at}: {found.text}" if shape.also else found.text
            return attrs.evolve(found, text=text)
    numbers = state.partition_numbers.get(shape.partition, [])
    fitting = [mask_of([n for n in numbers if state.table.room_count(n, part)]) for part in parts] if shape.also else []
    if not shape.also or are_enough(parts, fitting):
        return None
    count = functools.reduce(operator.or_, fitting).bit_count()
    text = f"its {len(parts)} components ask for {shape.total_nodes} different nodes; {count} have room for any of them"
    return Constraint("nodes", "different nodes", count, shape.total_nodes, text)


def _constraint_of(state: State, shape: Shape) -> Constraint | None:
    """The same for one component."""
    table, numbers = state.table, state.partition_numbers.get(shape.partition, [])
    if sum(table.room_count(number, shape) > 0 for number in numbers) >= shape.node_count:
        return None
    resource, asked, fitting = min(_fitting(state, shape, numbers), key=itemgetter(2))
    if fitting >= shape.node_count:
        text = f"no {shape.node_count} of {len(numbers)} nodes have all that it asks for at the same time"
        return Constraint("combination", "all of it together", 0, shape.node_count, text)
    where = f"on {shape.node_count} nodes" if shape.node_count > 1 else "on a node"
    looked_at = f"{plural(len(numbers), 'node')} of partition {shape.partition}"
    text = f"it asks for {asked} {where}; {fitting} of {looked_at} have that now"
    return Constraint(resource, asked, fitting, shape.node_count, text)


def _fitting(state: State, shape: Shape, numbers: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """(resource, what is asked of it, how many nodes have that now), each looked at alone."""
    table = state.table
    up = [number for number in numbers if table.is_available[number]]
    yield "nodes", "a place", len(up)
    yield "cpus", f"{plural(shape.cpus, 'free CPU')}", sum(table.free_cpus[n] >= shape.cpus for n in up)
    if shape.memory_bytes:
        asked = f"{shape.memory_bytes / 2**30:.3g} GiB of free memory"
        yield "memory", asked, sum(table.free_memory_bytes[n] >= shape.memory_bytes for n in up)
    if shape.gpus:
        asked = plural(shape.gpus, f"free {shape.gpu_type} GPU".replace("  ", " "))
        yield "gpus", asked, sum(_free_gpus(state, n, shape) >= shape.gpus for n in up)
    for name, count in shape.generic:
        yield name, f"{count} free {name}", sum(table.free_generic[n].get(name, 0) >= count for n in up)
    if shape.is_exclusive:
        yield "exclusive", "nothing else", sum(not table.allocation_count[n] for n in up)
    if shape.only_nodes:
        asked = f"a place among {listed(shape.only_nodes)}"
        yield "nodelist", asked, sum(table.nodes[n].name in shape.only_nodes for n in up)
    if shape.excluded_nodes:
        asked = f"a place outside of {listed(shape.excluded_nodes)}"
        yield "exclude", asked, sum(table.nodes[n].name not in shape.excluded_nodes for n in up)
    for feature in shape.features:
        yield "feature", f"the feature {feature}", sum(feature in table.nodes[n].features for n in up)
    if shape.alternatives:
        text = " or ".join("&".join(some) for some in shape.alternatives)
        yield "feature", f"the features {text}", sum(shape.suits(table.nodes[n].features) for n in up)


def _free_gpus(state: State, number: int, shape: Shape) -> int:
    free = state.table.free_gpus[number]
    return free.get(shape.gpu_type, 0) if shape.gpu_type else sum(free.values())


def question(state: State, record: JobRecord, now_s: float) -> Question:
    """What the verifying needs to know of the live state."""
    part = excerpt(state, record.job_id, now_s)
    changes = _changes(state, record, now_s) if part.asked is not None else ()
    return Question(
        part,
        tuple(Change(option, text, spec, as_it_would_be(state, record, now_s, spec)) for option, text, spec in changes),
        variations(state, record, now_s) if part.asked is not None else (),
    )


@attrs.frozen(eq=False)
class Change:
    """A change worth trying, as an option of `hal submit`, and the job with it."""

    option: str
    text: str
    spec: JobSpec
    asked: Asked


@attrs.frozen(eq=False)
class Question:
    """A job as it is, and as it would be with each change worth trying."""

    part: Excerpt
    changes: tuple[Change, ...]
    variations: tuple[Variation, ...] = ()


def verified(explanation: Explanation, asked: Question, engine: Engine, now_s: float) -> Explanation:
    """With the start that the engine foresees, and the changes that it would start sooner with."""
    found = forecast(asked.part, engine, now_s)
    explanation = attrs.evolve(
        explanation,
        start_time_s=found.start_time_s,
        nodes=found.nodes,
        why_not=found.why_not,
        queue_s=found.queue_s,
        variants=outlooks(asked.part, asked.variations, engine, now_s),
    )
    if explanation.reason not in ("resources", "priority", "reservation"):
        return explanation
    latest_s = math.inf if found.start_time_s is None else found.start_time_s - GAIN_S_MIN
    better: list[Suggestion] = []
    bound = Bound(latest_s, STEPS_MAX // max(len(asked.changes), 1))
    for change in asked.changes:
        start_s = forecast(asked.part, engine, now_s, change.asked, bound).start_time_s
        if start_s is not None and start_s <= latest_s:
            better.append(Suggestion(change.option, change.text, start_s))
    better.sort(key=lambda suggestion: suggestion.start_time_s)
    return attrs.evolve(explanation, suggestions=tuple(better[:SUGGESTIONS_MAX]))


def _changes(state: State, record: JobRecord, now_s: float) -> Iterator[tuple[str, str, JobSpec]]:
    """Small changes worth trying, one for each thing that the job asks for."""
    spec, shape, table = record.spec, record.shape, state.table
    here = [n for n in state.partition_numbers.get(shape.partition, []) if table.is_available[n]]
    if spec.node_count > 1:
        count = spec.node_count - 1
        tasks = max(1, spec.task_count * count // spec.node_count)
        yield f"--nodes={count}", "one node less", attrs.evolve(spec, node_count=count, task_count=tasks)
    most_cpus = max((table.free_cpus[n] for n in here), default=0)
    each = most_cpus * spec.cpus_per_task // shape.cpus
    if 0 < each < spec.cpus_per_task:
        yield f"--cpus-per-task={each}", "fewer CPUs for each task", attrs.evolve(spec, cpus_per_task=each)
    most_bytes = max((table.free_memory_bytes[n] for n in here), default=0) >> 20 << 20
    if 0 < most_bytes < shape.memory_bytes:
        changed = attrs.evolve(spec, memory_bytes_per_node=most_bytes)
        yield f"--mem={most_bytes >> 20}M", "no more memory than is free now", changed
    edge_s = state.reservations.holds.next_edge_s(now_s)
    ends = [time_s for _, time_s in state.reserves] + ([edge_s] if edge_s < math.inf else [])
    for hole_s in sorted({int(time_s - now_s) for time_s in ends if time_s - now_s >= 60})[:2]:
        if spec.walltime_s is None or hole_s < spec.walltime_s:
            text = "a time limit that ends before the next promised or reserved start"
            yield f"--time={hole_s // 60}", text, attrs.evolve(spec, walltime_s=float(hole_s // 60 * 60))
    if spec.is_exclusive:
        yield "without --exclusive", "nodes shared with other jobs", attrs.evolve(spec, is_exclusive=False)
    if spec.features or spec.alternatives:
        text = "nodes whatever their features"
        yield "without --constraint", text, attrs.evolve(spec, features=(), alternatives=())
    if spec.only_nodes:
        yield "without --nodelist", "whichever nodes", attrs.evolve(spec, only_nodes=())
    if spec.excluded_nodes:
        yield "without --exclude", "whichever nodes", attrs.evolve(spec, excluded_nodes=())
    for name, partition in state.partitions.items():
        limit_s = partition.walltime_s_max
        too_long = limit_s is not None and (spec.walltime_s is None or spec.walltime_s > limit_s)
        could_hold = all(_could_hold(state, name, part) for part in shape.parts)
        if name != spec.partition and not too_long and could_hold:
            yield f"--partition={name}", "another partition", attrs.evolve(spec, partition=name)


def _could_hold(state: State, partition: PartitionName, shape: Shape) -> bool:
    def holds(node: Node) -> bool:
        gpus = node.gpus.count(shape.gpu_type) if shape.gpu_type else len(node.gpus)
        return node.cpu_count >= shape.cpus and node.memory_bytes >= shape.memory_bytes and gpus >= shape.gpus

    numbers = state.partition_numbers[partition]
    return sum(holds(state.table.nodes[number]) for number in numbers) >= shape.node_count
