"""What an event says, as one line for people. From the plain values that the event stream carries, so that whoever
reads it can tell it, without knowing the classes of events.
"""

from __future__ import annotations

from hal_core.models.plural import plural
from hal_core.models.session_words import change_text
from hal_core.models.sizes import size

TYPE_CHECKING = False  # importing typing would cost a tenth of a whole `hal submit`
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from typing import Any, Final

    Values = Mapping[str, Any]

NODES_NAMED = 4


def event_text(kind: str, values: Values, arrays: Container[int] = ()) -> str:
    """`job 17 runs on n1`. `arrays`: the jobs whose elements are to be named (17_3), because they have several.

    An event of a newer HAL, of a kind that is not known here, is told by its kind.
    """
    job_id, elements = _job_and_elements(values)
    name = "" if job_id is None else f"job {_element_name(job_id, elements, arrays)}"
    told = JOB_TEXTS.get(kind) if name else None
    if told is not None:
        return f"{name} {told(values)}"
    return OTHER_TEXTS[kind](values) if kind in OTHER_TEXTS else kind


def end_text(end: Values) -> str:
    """`exit code 3`, `signal 9`, `out of memory (peak 3.2 GiB)`, `cancelled by ada`; with the detail, if any."""
    if not end:
        return ""
    kind = str(end["kind"])
    text = kind.replace("_", " ")
    if kind == "exited":
        text = f"exit code {end.get('exit_code')}"
    elif kind == "signalled":
        text = f"signal {end.get('signal')}"
    elif kind == "out_of_memory" and end.get("peak_memory_bytes"):
        text += f" (peak {size(end['peak_memory_bytes'])})"
    if end.get("by"):
        text += f" by {end['by']}"
    return f"{text}: {end['detail']}" if end.get("detail") else text


def _job_and_elements(values: Values) -> tuple[int | None, str]:
    """The job that it is about, and which elements: ranges text, nothing for all."""
    if "key" in values and "job_id" not in values:
        job_id, index, _ = values["key"]
        return job_id, str(index)
    return values.get("job_id"), values.get("elements", "")


def _element_name(job_id: int, elements: str, arrays: Container[int]) -> str:
    if not elements or (elements == "0" and job_id not in arrays):
        return str(job_id)
    return f"{job_id}_{elements}" if elements.isdecimal() else f"{job_id}_[{elements}]"


def _submitted(values: Values) -> str:
    spec, array = values["spec"], values["spec"]["array"]
    what = f", elements {array['indices']}" if array else ""
    return f"({spec['name']}{what}) of {values['owner']['user']} was submitted to {spec['partition']}"


def _placed(values: Values) -> str:
    nodes = [share["node"] for share in values["shares"]]
    more = f" and {len(nodes) - NODES_NAMED} more" if len(nodes) > NODES_NAMED else ""
    attempt = f" for attempt {values['attempt']}" if values["attempt"] > 1 else ""
    return f"gets {', '.join(nodes[:NODES_NAMED])}{more}{attempt}"


def _cancel_requested(values: Values) -> str:
    if values.get("preempted_for") is not None:
        return f"makes room for job {values['preempted_for']}"
    what = "is to end and wait again" if values.get("does_requeue") else "is to end"
    detail = f": {values['detail']}" if values.get("detail") else ""
    return f"{what}, by {values['by']}{detail}"


def _suspended(values: Values) -> str:
    if values["suspended_for"] is None:
        return f"is suspended by {values['by']}"
    return f"is suspended: job {values['suspended_for']} has its CPUs"


def _ended(values: Values) -> str:
    end = values["end"]
    if end["kind"] == "exited" and end.get("exit_code") == 0:
        return "completed"
    return f"ended: {end_text(end)}"


def _requeued(values: Values) -> str:
    by = f", by {values['by']}" if values["by"] else ""
    return f"waits again{by} ({end_text(values['end'])})"


def _staged(values: Values) -> str:
    return f"has its inputs ({size(values['bytes_moved'])} moved)" if values["bytes_moved"] else "has its inputs"


def _with_detail(text: str, values: Values, field: str = "detail") -> str:
    return f"{text}: {values[field]}" if values[field] else text


JOB_TEXTS: Final[Mapping[str, Callable[[Values], str]]] = {
    "JobSubmitted": _submitted,
    "JobHeld": lambda values: f"is held by {values['by']}",
    "JobReleased": lambda values: f"is released by {values['by']}",
    "PriorityChanged": lambda values: f"has priority {values['priority']} now, by {values['by']}",
    "WeightChanged": lambda values: f"has weight {values['weight']} now, by {values['by']}",
    "VariantChosen": lambda values: f"goes for variant {values['number']} of its amounts",
    "JobPlaced": _placed,
    "InputsStaged": _staged,
    "PartStarted": lambda values: f"runs on {values['node']}",
    "PartEnded": lambda values: f"ended on {values['node']}, one of its nodes: {end_text(values['end'])}",
    "JobCancelRequested": _cancel_requested,
    "JobSuspended": _suspended,
    "JobResumeRequested": lambda values: f"is to go on, by {values['by']}",
    "JobResumed": lambda values: f"goes on, by {values['by']}",
    "JobEnded": _ended,
    "JobRequeued": _requeued,
    "OutputRefused": lambda values: f"left no dataset {values['dataset']}: {values['detail']}",
    "IdleFound": lambda values: f"does next to nothing with its {plural(values['cpu_count'], 'CPU')}",
    "JobAdmitted": lambda values: f"may start on {values['offer']} of pool {values['pool']}: {values['reason']}",
    "OrphanFound": lambda values: f"is on node {values['node']}, where it should not be (any more)",
}
OTHER_TEXTS: Final[Mapping[str, Callable[[Values], str]]] = {
    "ClusterDefined": lambda values: (
        f"cluster {values['cluster']['name']} is configured: {plural(len(values['cluster']['nodes']), 'node')}"
    ),
    "NodeJoined": lambda values: f"node {values['node']['name']} is up",
    "NodeSuspected": lambda values: f"node {values['node']} is out of contact",
    "NodeWentDown": lambda values: _with_detail(f"node {values['node']} is down", values),
    "NodeDrained": lambda values: _with_detail(f"node {values['node']} is drained by {values['by']}", values, "reason"),
    "NodeResumed": lambda values: f"node {values['node']} is resumed by {values['by']}",
    "Planned": lambda values: (
        f"a plan: {plural(values['start_count'], 'start')}, {plural(len(values['reserves']), 'promise')}"
    ),
    "RunTimesPredicted": lambda values: (
        f"{values['predictor']} predicts the run time of {plural(len(values['predictions']), 'job')}"
    ),
    "ObserverDisabled": lambda values: _with_detail(f"observer {values['observer']} is switched off", values),
    "PolicyChanged": lambda values: f"{values['policy']} plans instead of {values['before']}: {values['reason']}",
    "ReservationAdded": lambda values: f"reservation {values['reservation']['name']} is added",
    "ReservationRemoved": lambda values: f"reservation {values['name']} is removed by {values['by']}",
    "DatasetAdded": lambda values: (
        f"dataset {values['dataset']['name']}@{values['dataset']['version']} is in the catalogue"
    ),
    "DatasetPinned": lambda values: (
        f"dataset {values['dataset']} is {'pinned' if values['is_pinned'] else 'pinned no more'}, by {values['by']}"
    ),
    "CopiesChanged": lambda values: (
        f"the store of node {values['node']} has {plural(len(values['added']), 'dataset')} more, "
        f"{len(values['dropped'])} less"
    ),
    "BookingsChanged": lambda values: (
        f"{values['executor']} says how {plural(len(values['nodes']), 'node')} of its own are booked"
    ),
    "EvictionOrdered": lambda values: (
        f"dataset {values['dataset']} is to leave {plural(len(values['nodes']), 'node')}, by {values['by']}"
    ),
    "DatasetRemoved": lambda values: f"dataset {values['dataset']} is taken out of the catalogue by {values['by']}",
    "SessionChanged": lambda values: (
        f"session {values['session']} of {values['user']}: {change_text(values['change'])}"
    ),
    "AccessChanged": lambda values: _with_detail(
        f"{str(values['change']).replace('_', ' ')}: {values['subject']}, by {values['by']}", values
    ),
    "InstancesRequested": lambda values: _with_detail(
        f"pool {values['pool']} asks for {values['count']} of {values['offer']}", values, "reason"
    ),
    "InstancesStarted": lambda values: (
        f"pool {values['pool']} has {', '.join(each['node'] for each in values['started']) or 'none'} "
        f"of request {values['token']}"
    ),
    "InstancesRefused": lambda values: _with_detail(
        f"pool {values['pool']} was refused request {values['token']}", values
    ),
    "OfferClosed": lambda values: _with_detail(
        f"pool {values['pool']} leaves offer {values['offer']} alone for a while", values
    ),
    "InstanceJoined": lambda values: f"instance {values['instance']} of pool {values['pool']} is ready",
    "LeaseExtended": lambda values: _with_detail(
        f"instance {values['instance']} of pool {values['pool']} is paid for until later", values, "reason"
    ),
    "InstanceDrained": lambda values: _with_detail(
        f"instance {values['instance']} of pool {values['pool']} gets no more work", values, "reason"
    ),
    "InstanceReleased": lambda values: _with_detail(
        f"instance {values['instance']} of pool {values['pool']} is given back", values, "reason"
    ),
    "InstanceGone": lambda values: _with_detail(
        f"instance {values['instance']} of pool {values['pool']} is gone", values
    ),
    "JobsDeclined": lambda values: (
        f"pool {values['pool']} leaves {plural(len(values['late']) + len(values['withdrawn']), 'job')} to wait; "
        f"a start in time is worth {values['worth_price']:.2f}"
    ),
    "PoolStopped": lambda values: (
        f"pool {values['pool']} is stopped by {values['by']}"
        f"{', and all its instances are given back' if values['does_release'] else ''}"
    ),
    "PoolResumed": lambda values: f"pool {values['pool']} is resumed by {values['by']}",
}
