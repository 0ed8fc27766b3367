"""Views: what the state says about jobs, as plain values ready for JSON. Pure; nothing here changes the state.

The REST API, `hal explain` and reports share them. Who may see what is not decided here: the caller says whether
private fields are shown. Lists and pages are in `queue_view.py`, nodes in `node_view.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from hal_core.models.component import Component
from hal_core.models.explanation import LikelyStart
from hal_core.models.job import FINAL, Dependency, End, JobId, JobSpec, JobState
from hal_core.models.placement import Share
from hal_core.models.prediction import Prediction
from hal_core.models.ranges import format_ranges
from hal_core.models.use import JobUse
from hal_core.rules import anonymous
from hal_core.rules.output_names import absolute_pattern, output_path
from hal_core.rules.variant_outlook import choice_text, variant_text
from hal_core.rules.waiting import Reason, Waiting

if TYPE_CHECKING:
    from hal_core.rules.job_record import Activity, JobRecord

NODE_NAMES_SHOWN = 8
PRIVATE_FIELDS = (
    *("command", "arguments", "working_directory", "environment"),
    *("input_path", "output_path", "error_path", "output_pattern", "error_pattern", "inputs", "outputs"),
)
"""Of a JobDetail: shown to the owner (and to whom rest/rights.py allows it), else None."""


@attrs.frozen(kw_only=True)
class JobView:
    """One line of the queue."""

    job_id: JobId
    name: str
    user: str
    partition: str
    account: str
    state: JobState
    array: str | None
    element_count: int
    counts: dict[str, int]
    qos: str
    priority: int
    """The job's own: what its user and operators gave it."""
    queue_priority: float | None
    """What orders the queue, all terms together; None once nothing waits."""
    submit_time_s: float
    begin_time_s: float
    deadline_time_s: float | None
    start_time_s: float | None
    end_time_s: float | None
    walltime_s: float | None
    node_count: int
    task_count: int
    cpu_count: int
    gpu_count: int
    memory_bytes_per_node: int
    nodes: str
    attempt: int
    is_held: bool
    reason: Reason | None
    expected_start_time_s: float | None
    end: End | None
    idle_since_s: float | None = None
    """Since when it runs and does next to nothing, by what its nodes measure; None: it works, or nobody measures."""


@attrs.frozen
class NodeShareView:
    """What an element holds on one node."""

    node: str
    task_count: int
    cpus: str
    memory_bytes: int
    gpus: str
    generic: dict[str, int]


@attrs.frozen(kw_only=True)
class ElementView:
    """One element, or several (`indices`) in the same condition of which nothing else is known."""

    indices: str
    count: int
    state: JobState
    attempt: int
    start_time_s: float | None = None
    end_time_s: float | None = None
    nodes: tuple[NodeShareView, ...] = ()
    end: End | None = None
    suspend_time_s: float | None = None
    """Since when it stands still."""
    suspended_by: str = ""
    """Who wanted that, if it was a person and not for another job."""
    output_path: str | None = None
    error_path: str | None = None


@attrs.frozen(kw_only=True)
class JobDetail(JobView):
    """Everything about one job. Fields that may be None without a word of their own are the private ones."""

    uid: int
    gid: int
    is_private_shown: bool
    has_script: bool
    command: tuple[str, ...] | None
    arguments: tuple[str, ...] | None
    working_directory: str | None
    environment: tuple[str, ...] | None
    input_path: str | None
    output_path: str | None
    error_path: str | None
    output_pattern: str | None
    """The absolute path with `%a`, `%N` and `%%` as they are: each element and each node may have its own."""
    error_pattern: str | None
    inputs: tuple[str, ...] | None
    outputs: tuple[str, ...] | None
    does_append: bool
    cpus_per_task: int
    gpus_per_node: int
    gpu_type: str
    generic_per_node: dict[str, int]
    features: tuple[str, ...]
    only_nodes: tuple[str, ...]
    excluded_nodes: tuple[str, ...]
    alternatives: tuple[tuple[str, ...], ...]
    licences: dict[str, int]
    is_exclusive: bool
    gpu_milli: int
    choice: str
    """With which of several sets of amounts it is planned or runs, and why; empty if it may run with one only."""
    variants: tuple[str, ...]
    components: tuple[Component, ...]
    """Of a job of several all of them, the first too: what stands beside this is its own, or the sum."""
    communication: float
    near: str
    """The level, and perhaps the domain, that is to hold the whole job: `rack`, `region eu, required`."""
    span: str | None
    """The narrowest domain of the topology that has all nodes of a job that runs."""
    slow_down: float | None
    """How many times as long it is expected to run there as on the nearest nodes that the cluster has."""
    spread: str
    kill_grace_s: float
    comment: str
    dependencies: tuple[Dependency, ...]
    needs_all_dependencies: bool
    array_throttle: int | None
    has_auto_memory: bool
    first_memory_bytes: int
    """On each node, what its first attempt is given; 0: what it asks for."""
    has_outgrown: bool
    """That was not enough, and it has what it asked for since."""
    prediction: Prediction | None
    """Of the run time of (each element of) the job, for planning."""
    element: ElementView | None
    sequence: int
    use: JobUse | None = None
    """What its running elements use; None if that is not measured, or was not yet."""
    likely_start: LikelyStart | None = None
    """When it is likely to start; None if it does not wait, that cannot be said, or it was not asked for."""


def counts_of(record: JobRecord) -> dict[str, int]:
    """Elements by state; states without any are left out."""
    if not record.is_array:
        return {record.state.value: 1}
    counts: dict[str, int] = {}
    if record.pending_count:
        counts["PENDING"] = record.pending_count
    for activity in record.active.values():
        counts[activity.state.value] = counts.get(activity.state.value, 0) + 1
    for state, indices in record.ended.items():
        if indices:
            counts[state.value] = len(indices)
    return counts


def job_view(record: JobRecord, waiting: Waiting) -> JobView:
    return JobView(**_summary(record, waiting))


def job_detail(record: JobRecord, waiting: Waiting, does_show_private: bool, sequence: int) -> JobDetail:
    """All that is known about the job; the private fields only if the caller may see them."""
    spec, owner = record.spec, record.owner
    values = _summary(record, waiting)
    values |= {
        "command": spec.command,
        "arguments": spec.arguments,
        "working_directory": spec.working_directory,
        "environment": spec.environment,
        "input_path": spec.input_path,
        "output_path": output_path(record, spec.output_pattern),
        "error_path": output_path(record, spec.error_pattern),
        "output_pattern": absolute_pattern(record, spec.output_pattern),
        "error_pattern": absolute_pattern(record, spec.error_pattern),
        "inputs": anonymous.shown(waiting.state, spec.inputs),
        "outputs": spec.outputs,
    }
    if not does_show_private:
        values |= dict.fromkeys(PRIVATE_FIELDS)
    return JobDetail(
        **values,
        uid=owner.uid,
        gid=owner.gid,
        is_private_shown=does_show_private,
        has_script=bool(spec.script),
        does_append=spec.does_append,
        cpus_per_task=spec.cpus_per_task,
        gpus_per_node=spec.gpus_per_node,
        gpu_type=spec.gpu_type,
        generic_per_node=dict(spec.generic_per_node),
        features=spec.features,
        only_nodes=spec.only_nodes,
        excluded_nodes=spec.excluded_nodes,
        alternatives=spec.alternatives,
        licences=dict(spec.licences),
        is_exclusive=spec.is_exclusive,
        gpu_milli=spec.gpu_milli,
        choice=choice_text(record),
        variants=tuple(map(variant_text, spec.variants)),
        components=spec.as_components,
        communication=spec.communication,
        near=near_text(spec),
        **waiting.nearness(record),
        spread=spec.spread.value,
        kill_grace_s=spec.kill_grace_s,
        comment=spec.comment,
        dependencies=spec.dependencies,
        needs_all_dependencies=spec.needs_all_dependencies,
        array_throttle=spec.array.throttle if spec.array else None,
        has_auto_memory=spec.has_auto_memory,
        first_memory_bytes=spec.first_memory_bytes,
        has_outgrown=record.has_outgrown,
        prediction=record.prediction,
        element=None if record.is_array else element_view(record, 0, does_show_private),
        sequence=sequence,
    )


def near_text(spec: JobSpec) -> str:
    """What the job wants of the topology, in words; empty if nothing."""
    where = f"{spec.level} {spec.domain}".strip()
    return f"{where}, required" if spec.is_level_required else where


def element_view(record: JobRecord, index: int, does_show_private: bool) -> ElementView:
    """One element by its index, which must be one of the job's."""
    values: dict[str, Any] = {"indices": str(index), "count": 1}
    if does_show_private:
        values["output_path"] = output_path(record, record.spec.output_pattern, index)
        values["error_path"] = output_path(record, record.spec.error_pattern, index)
    activity = record.active.get(index)
    if activity is not None:
        return ElementView(
            **values,
            state=activity.state,
            attempt=activity.attempt,
            start_time_s=activity.start_time_s,
            suspend_time_s=activity.suspend_time_s,
            suspended_by=activity.suspended_by if activity.suspend_time_s is not None else "",
            nodes=tuple(_share_view(share) for share in activity.shares),
        )
    ended = record.ends.get(index)
    if ended is not None:
        return ElementView(
            **values,
            state=ended.end.state,
            attempt=ended.attempt,
            start_time_s=ended.start_time_s,
            end_time_s=ended.end_time_s,
            nodes=tuple(NodeShareView(name, 0, "", 0, "", {}) for name in ended.node_names),
            end=ended.end,
        )
    state = next((state for state, indices in record.ended.items() if index in indices), JobState.PENDING)
    return ElementView(**values, state=state, attempt=attempts_made(record, index, state))


def attempts_made(record: JobRecord, index: int, state: JobState) -> int:
    """How many attempts the element has had. A pending one's coming attempt does not count."""
    return record.attempt_of(index) - (state is JobState.PENDING)


def _share_view(share: Share) -> NodeShareView:
    return NodeShareView(share.node, share.task_count, share.cpus, share.memory_bytes, share.gpus, dict(share.generic))


def _summary(record: JobRecord, waiting: Waiting) -> dict[str, Any]:
    spec, state = record.spec, record.state
    is_array, walltime_s = spec.array is not None, spec.walltime_s
    ended = None if is_array else record.ends.get(0)
    return {
        "job_id": record.job_id,
        "name": spec.name,
        "user": record.owner.user,
        "partition": spec.partition,
        "account": spec.account,
        "state": state,
        "array": _array_text(spec),
        "element_count": record.element_count if is_array else 1,
        "counts": counts_of(record) if is_array else {state.value: 1},
        "qos": spec.qos,
        "priority": record.priority,
        "queue_priority": waiting.queue_priority(record) if record.pending_count else None,
        "submit_time_s": record.submit_time_s,
        "begin_time_s": spec.begin_time_s,
        "deadline_time_s": spec.deadline_time_s,
        "start_time_s": _start_time_s(record),
        "end_time_s": _end_time_s(record, state),
        "walltime_s": walltime_s if walltime_s is None or math.isfinite(walltime_s) else None,
        "node_count": spec.total_nodes,
        "task_count": spec.total_tasks,
        "cpu_count": spec.total_cpus,
        "gpu_count": spec.total_gpus,
        "memory_bytes_per_node": spec.most_memory_bytes,
        "nodes": _nodes_text(record),
        "attempt": 0 if is_array else attempts_made(record, 0, state),
        "is_held": bool(record.held_by),
        "reason": waiting.reason(record) if state not in FINAL else None,
        "expected_start_time_s": waiting.expected_start_time_s(record.job_id),
        "end": ended.end if ended is not None else None,
    }


def _array_text(spec: JobSpec) -> str | None:
    if spec.array is None:
        return None
    throttle = "" if spec.array.throttle is None else f"%{spec.array.throttle}"
    return format_ranges(spec.array.indices) + throttle


def _start_time_s(record: JobRecord) -> float | None:
    """When the first of its elements began, as far as is kept."""
    if not record.active and not record.ends:
        return None
    starts = [activity.start_time_s for activity in record.active.values() if activity.start_time_s is not None]
    starts += [end.start_time_s for end in record.ends.values() if end.start_time_s is not None]
    return min(starts, default=None)


def _end_time_s(record: JobRecord, state: JobState) -> float | None:
    if state not in FINAL:
        return None
    ended = record.ends.get(0)
    return ended.end_time_s if ended is not None and not record.is_array else record.finish_time_s


def _nodes_text(record: JobRecord) -> str:
    """At most a handful of names: those in use, or the ones that a job used which is no array."""
    if not record.active and not record.ends:
        return ""
    names: dict[str, None] = {}
    activities: list[Activity] = []
    for activity in record.active.values():
        activities.append(activity)
        names.update((share.node, None) for share in activity.shares[: NODE_NAMES_SHOWN + 1])
        if len(names) > NODE_NAMES_SHOWN:
            break
    if not activities and not record.is_array and 0 in record.ends:
        names = dict.fromkeys(record.ends[0].node_names)
    shown = ",".join(list(names)[:NODE_NAMES_SHOWN])
    return shown + ",..." if len(names) > NODE_NAMES_SHOWN else shown
