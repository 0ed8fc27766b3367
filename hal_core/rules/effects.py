"""Which effects follow from an event, and which are outstanding when a node reports after any kind of interruption.

Effects are at-least-once and idempotent by key, so ordering a launch again is always safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hal_core.models.dataset import REFERENCE, DatasetId
from hal_core.models.effect import (
    CancelOrder,
    CancelPart,
    Effect,
    Forget,
    Keep,
    KeepOrder,
    Launch,
    LaunchOrder,
    Stage,
    SuspendOrder,
    SuspendPart,
)
from hal_core.models.event import (
    DatasetPinned,
    DatasetRemoved,
    Event,
    EvictionOrdered,
    InputsStaged,
    JobCancelRequested,
    JobEnded,
    JobPlaced,
    JobRequeued,
    JobResumed,
    JobSuspended,
    NodeJoined,
    OrphanFound,
    PartEnded,
)
from hal_core.models.job import Spread
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.ranges import members
from hal_core.models.trace import trace_of
from hal_core.rules import anonymous

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity
    from hal_core.rules.state import State


def effects_of(state: State, event: Event) -> list[Effect]:
    """The effects that one event calls for. The state has just applied it, and nothing after it."""
    match event:
        case JobPlaced(job_id=job_id, elements=elements):
            active = state.jobs[job_id].active
            return [effect for index in members(elements) for effect in _bring_up(state, active[index])]
        case InputsStaged(key=key):
            activity = state.activity(key)
            return list(_launches(state, activity)) if activity else []
        case JobCancelRequested(job_id=job_id, elements=elements, by=by):
            active = state.jobs[job_id].active
            return [effect for index in members(elements) for effect in _cancels(active[index], f"cancelled by {by}")]
        case JobSuspended(job_id=job_id, elements=elements) | JobResumed(job_id=job_id, elements=elements):
            does_resume = isinstance(event, JobResumed)
            active = state.jobs[job_id].active
            return [effect for index in members(elements) for effect in _suspends(active[index], does_resume)]
        case PartEnded(key=key, node=node):
            activity = state.activity(key)
            rest = _cancels(activity, "another part of the gang failed") if activity and activity.has_failed else []
            return [Forget(node, key), *rest]
        case OrphanFound(node=node, key=key, is_ended=is_ended):
            return [Forget(node, key)] if is_ended else [CancelPart(node, CancelOrder(key, 0.0, "not wanted here"))]
        case NodeJoined(node=node):
            return outstanding_on(state, node.name)
        case DatasetPinned(dataset=dataset):
            return [_pins(state, node, [dataset]) for node in sorted(state.catalogue.copies.get(dataset, ()))]
        case DatasetRemoved(dataset=dataset):
            nodes = sorted(state.catalogue.copies.get(dataset, ()))
            return [Keep(node, KeepOrder(dropped=(dataset,))) for node in nodes]
        case EvictionOrdered(dataset=dataset, nodes=nodes):
            return [Keep(node, KeepOrder(dropped=(dataset,))) for node in nodes]
        case _:
            return []


def forgets_of(state: State, event: JobEnded | JobRequeued) -> list[Effect]:
    """Records that the nodes may remove once the event is on disk. Asked before the state applies it."""
    if isinstance(event, JobRequeued):
        activity = state.activity(event.key)
        return [Forget(share.node, event.key) for share in activity.shares] if activity else []
    record = state.jobs[event.job_id]
    return [
        Forget(share.node, AttemptKey(record.job_id, index, event.attempt))
        for index in record.active_among(event.elements)
        for share in record.active[index].shares
    ]


def outstanding_on(state: State, node: str) -> list[Effect]:
    """What a node that (re)joins must be told: launches that it may not have got, and ends that were asked for.

    After a start of the daemon every node joins again or is given up, so this is also where staging is taken up again.
    """
    effects: list[Effect] = []
    here = list(state.on_node.get(node, {}).values())
    by_need = sorted(here, key=lambda each: each.suspend_time_s is None)  # who stands still, then who goes on
    for activity in by_need:  # before anything is launched on the CPUs that they lend
        if activity.was_suspended and node in activity.parts_started:
            suspends = _suspends(activity, activity.suspend_time_s is None)
            effects += [effect for effect in suspends if effect.node == node]
    for activity in here:
        if activity.cancel is not None or activity.has_failed:
            effects += [effect for effect in _cancels(activity, "its end was asked for") if effect.node == node]
        elif not activity.is_launched:
            effects += _bring_up(state, activity)
        elif node not in activity.parts_started and node in activity.parts_left:
            effects += [effect for effect in _launches(state, activity) if effect.node == node]
    copies = state.catalogue.copies_on(NodeName(node))
    return [*effects, _pins(state, node, copies)] if copies else effects


def _pins(state: State, node: str, copies: Sequence[DatasetId]) -> Keep:
    """What the node is to think of its copies. Those that the catalogue does not know may go."""
    known = state.catalogue.by_id
    pinned = tuple(each for each in copies if each in known and known[each].is_pinned)
    unpinned = tuple(each for each in copies if each in known and not known[each].is_pinned)
    return Keep(NodeName(node), KeepOrder(pinned, unpinned, tuple(each for each in copies if each not in known)))


def _bring_up(state: State, activity: Activity) -> list[Effect]:
    spec = activity.record.spec
    if not spec.inputs or activity.is_launched:
        return list(_launches(state, activity))
    named = [text for text in spec.inputs if text.startswith(REFERENCE)]
    found = {text: state.catalogue.find(text.removeprefix(REFERENCE)) for text in named}
    stage = Stage(
        activity.key,
        tuple(text for text in spec.inputs if text not in found),
        spec.working_directory,
        tuple(share.node for share in activity.shares),
        tuple(dataset for dataset in found.values() if dataset is not None),
        tuple(text for text, dataset in found.items() if dataset is None),
    )
    return [stage]


def _launches(state: State, activity: Activity) -> list[Launch]:
    record, table = activity.record, state.table
    nodes = tuple((share.node, share.task_count) for share in activity.shares)
    addresses = tuple(table.nodes[number].address or table.nodes[number].name for number in activity.node_numbers)
    shares = activity.shares[:1] if record.spec.spread is Spread.JOB else activity.shares
    trace = trace_of(state.cluster.name, record.job_id, record.submit_time_s, record.spec.environment)
    common: dict[str, Any] = {"addresses": addresses, "trace": f"{trace.trace_id:032x}"}
    common["file_names"] = anonymous.file_names(state, record.spec.inputs)
    return [
        Launch(share.node, LaunchOrder(activity.key, record.owner, record.spec, share, nodes, **common))
        for share in shares
    ]


def _cancels(activity: Activity, why: str) -> list[CancelPart]:
    return [
        CancelPart(share.node, CancelOrder(activity.key, activity.grace_s, why))
        for share in activity.shares
        if share.node in activity.parts_left
    ]


def _suspends(activity: Activity, does_resume: bool) -> list[SuspendPart]:
    order = SuspendOrder(activity.key, does_resume)
    return [SuspendPart(share.node, order) for share in activity.shares if share.node in activity.parts_left]
