"""The JSON of slurmrestd, in its two shapes. Pure.

Until v0.0.38 numbers are numbers, the environment is an object and a state is one word. From v0.0.39 on (Slurm's data
parser) numbers may be `{"set", "infinite", "number"}`, the environment is a list and a state is a list of words. What
comes is read in either shape, field by field; what is sent depends on the version.
"""

from __future__ import annotations

from typing import Any, Final

from hal_plugin_slurm.usage import Step, Used, used_by
from hal_plugin_slurm.way import (
    MAINTENANCE,
    SlurmJob,
    SlurmNode,
    SlurmRefused,
    SlurmReservation,
    SlurmUnanswered,
    Submission,
    gpus_of,
    indices_of,
    kept_cpu_count,
    wait_status,
)

NEW_SHAPE_FROM: Final = 39
INFINITE: Final = 2**32 - 2
"""What Slurm's numbers of 32 bits call "none" and "without end" from there on."""
PATH: Final = "/usr/local/bin:/usr/bin:/bin"
EXCLUSIVE_REFUSED = (
    "this slurmrestd cannot be asked for whole nodes (Slurm 22.05 and older): "
    "use Slurm's commands (`way: commands`), or leave --exclusive away"
)
FLAGS: Final = frozenset({"COMPLETING", "CONFIGURING", "STAGE_OUT", "RESIZING", "SIGNALING", "REQUEUED", "STOPPED"})
"""What a list of state words may hold beside the state itself."""


def submit_body(submission: Submission, version: int, programs: str = "") -> dict[str, Any]:
    """The body of POST job/submit; `programs` comes first in the job's PATH. Raises SlurmRefused for what this version
    cannot be asked."""
    path = f"{programs}:{PATH}" if programs else PATH
    is_new = version >= NEW_SHAPE_FROM
    if submission.is_exclusive and not is_new:
        raise SlurmRefused(EXCLUSIVE_REFUSED)
    asked = {
        "name": submission.name,
        "current_working_directory": submission.directory,
        "standard_output": submission.output,
        "standard_error": submission.error if submission.error != submission.output else "",
        "standard_input": submission.input,
        "open_mode": "append" if submission.does_append else "truncate",
        "partition": submission.partition,
        "array": submission.indices,
        "nodes": str(submission.node_count),  # [2, 2] is taken by v0.0.38, and heeded by it as 1
        "tasks": submission.task_count,
        "tasks_per_node": submission.tasks_per_node,
        "cpus_per_task": submission.cpus_per_task,
        "constraints": submission.constraint,
        "account": submission.account,
        "qos": submission.qos,
        "reservation": submission.reservation,
        "comment": submission.comment,
    }
    job: dict[str, Any] = {name: value for name, value in asked.items() if value}
    job["requeue"] = False  # v0.0.38 reads it and does not heed it: the script itself refuses to run again
    if is_new:
        job |= {"environment": [f"PATH={path}"], "script": submission.script}
        if submission.is_exclusive:
            job["shared"] = ["none"]
        if submission.gres_per_node:
            job["tres_per_node"] = ",".join(f"gres/{each}" for each in submission.gres_per_node.split(","))
    else:
        job["environment"] = {"PATH": path}
        if submission.gres_per_node:
            job["gres"] = submission.gres_per_node
    for name, value in (
        ("memory_per_node", submission.memory_mb_per_node),
        ("time_limit", submission.time_limit_min),
    ):
        if value:
            job[name] = {"set": True, "infinite": False, "number": value} if is_new else value
    return {"job": job} if is_new else {"script": submission.script, "job": job}


def job_of(entry: Any) -> SlurmJob:
    """One entry of GET jobs. Raises ValueError, KeyError or TypeError for what is none."""
    code, signal = _end_of(entry["exit_code"])
    index = number(entry.get("array_task_id"))
    array_id = number(entry.get("array_job_id")) or 0
    rest = entry.get("array_task_string") or ""
    limit_min = number(entry.get("time_limit"))
    return SlurmJob(
        native_id=array_id or int(entry["job_id"]),
        name=entry["name"],
        state=state_of(entry["job_state"]),
        index=None if rest or not array_id else index,
        is_rest=bool(rest),
        rest=indices_of(rest) if rest else (),
        exit_code=code,
        signal=signal,
        start_time_s=number(entry.get("start_time")) or None,
        end_time_s=number(entry.get("end_time")) or None,
        nodes=entry.get("nodes") or "",
        reason=entry.get("state_reason") or "",
        user=entry.get("user_name") or "",
        partition=entry.get("partition") or "",
        priority=number(entry.get("priority")) or 0,
        limit_s=None if limit_min is None or limit_min >= INFINITE else limit_min * 60.0,
        tres=entry.get("tres_alloc_str") or entry.get("tres_req_str") or "",
        submit_time_s=float(number(entry.get("submit_time")) or 0),
        reservation=entry.get("resv_name") or "",
    )


def past_job_of(entry: Any) -> SlurmJob:
    """One entry of GET slurmdb jobs. Until v0.0.38 every exit code in it is 0, whatever it was: told as unknown."""
    array, time = entry.get("array") or {}, entry["time"]
    index = number(array.get("task_id", array.get("task")))
    array_id = number(array.get("job_id")) or 0
    state = state_of(entry["state"]["current"])
    code, signal = _end_of(entry["exit_code"])
    return SlurmJob(
        native_id=array_id or int(entry["job_id"]),
        name=entry["name"],
        state=state,
        index=index if array_id else None,
        exit_code=None if state == "FAILED" and code == 0 else code,
        signal=signal,
        start_time_s=number(time.get("start")) or None,
        end_time_s=number(time.get("end")) or None,
        nodes=entry.get("nodes") or "",
        used=_used(entry),
    )


def _used(entry: Any) -> Used | None:
    """What cannot be read is not known: it is no reason to doubt how a job ended."""
    try:
        return used_by(map(_step, entry["steps"]))
    except (ValueError, KeyError, TypeError):
        return None


def _step(entry: Any) -> Step:
    total = entry["time"]["total"]
    most = {each["type"]: each["count"] for each in entry["tres"]["requested"]["max"]}
    return Step(
        state_of(entry["state"]),
        (number(total["seconds"]) or 0) + (number(total["microseconds"]) or 0) / 1e6,
        number(most.get("mem")),
        number(entry["tasks"]["count"]) or 1,
        number(entry["nodes"]["count"]) or 1,
    )


def node_of(entry: Any) -> SlurmNode:
    state = entry["state"]
    words = [state, *entry.get("state_flags", ())] if isinstance(state, str) else list(state)
    words = [word.lower() for word in words]
    return SlurmNode(
        name=entry["name"],
        state=_node_state(words),
        cpu_count=int(entry["cpus"]),
        memory_mb=int(number(entry["real_memory"]) or 0),
        gpus=gpus_of(entry.get("gres") or ""),
        reason=entry.get("reason") or "",
        partitions=tuple(entry.get("partitions") or ()),
    )


def _node_state(words: list[str]) -> str:
    """As sinfo says it."""
    if "drain" in words:
        return "drained"
    return MAINTENANCE if words[0] == "idle" and "maintenance" in words else words[0]


def reservation_of(entry: Any) -> SlurmReservation:
    """One entry of GET reservations."""
    try:
        return SlurmReservation(
            name=entry["name"],
            nodes=entry.get("node_list") or "",
            start_time_s=_instant(entry["start_time"]),
            end_time_s=_instant(entry["end_time"]),
            cpu_count=kept_cpu_count(entry.get("tres") or ""),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise SlurmUnanswered(f"{error!r} in {str(entry)[:1000]}") from None


def _instant(value: Any) -> float:
    if found := number(value):
        return float(found)
    raise ValueError(f"no time: {value}")


def number(value: Any) -> int | None:
    """A number in either shape; None if it is not set."""
    if isinstance(value, dict):
        return int(value["number"]) if value.get("set") and not value.get("infinite") else None
    return None if value is None else int(value)


def state_of(value: Any) -> str:
    """The state in one word; a job that is COMPLETING is that until it has left its nodes."""
    words = [value] if isinstance(value, str) else list(value)
    if "COMPLETING" in words:
        return "COMPLETING"
    return next((word for word in words if word not in FLAGS), words[0])


def _end_of(value: Any) -> tuple[int | None, int | None]:
    """(exit code, signal) of an integer (a wait status) or of an object in either shape."""
    if not isinstance(value, dict):
        return wait_status(int(value or 0))
    signal = value.get("signal") or {}
    killed_by = number(signal.get("id", signal.get("signal_id"))) or None
    return (None, killed_by) if killed_by else (number(value.get("return_code")), None)
