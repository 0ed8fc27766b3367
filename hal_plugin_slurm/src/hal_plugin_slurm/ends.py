"""What Slurm's words for the end of a job mean to HAL. Pure."""

from __future__ import annotations

from typing import Final

from hal_core import End, EndKind
from hal_plugin_slurm.way import LAUNCH_FAILED_SIGNAL, SlurmJob

WAITING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"})
ACTIVE: Final = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "RESIZING", "SIGNALING"})
"""COMPLETING hides how a job ended: it counts as running until that has passed."""
_KINDS: Final = {
    "TIMEOUT": EndKind.TIME_LIMIT,
    "DEADLINE": EndKind.TIME_LIMIT,
    "OUT_OF_MEMORY": EndKind.OUT_OF_MEMORY,
    "NODE_FAIL": EndKind.NODE_LOST,
    "BOOT_FAIL": EndKind.NODE_LOST,
    "PREEMPTED": EndKind.NODE_LOST,
    "REVOKED": EndKind.NODE_LOST,
}


def end_of(job: SlurmJob, is_cancel_wanted: bool) -> End | None:
    """How it ended; None if it has not."""
    match job.state:
        case state if state in WAITING or state in ACTIVE:
            return None
        case "COMPLETED":
            return End(EndKind.EXITED, exit_code=0)
        case "FAILED" | "SPECIAL_EXIT":
            return _failure(job)
        case "CANCELLED" if is_cancel_wanted:
            return End(EndKind.CANCELLED)
        case "CANCELLED":
            return End(EndKind.CANCELLED, by="slurm", detail="cancelled in Slurm")
        case state if state in _KINDS:
            return End(_KINDS[state], detail=f"Slurm says {state}{_because(job)}")
        case state:
            return End(EndKind.SUPERVISOR_LOST, detail=f"Slurm says {state}, which this bridge does not know")


def _failure(job: SlurmJob) -> End:
    if job.signal == LAUNCH_FAILED_SIGNAL:
        detail = "Slurm could not open its working directory, input or output on the node"
        return End(EndKind.LAUNCH_FAILED, detail=detail)
    if job.signal:
        return End(EndKind.SIGNALLED, signal=job.signal)
    detail = "" if job.exit_code is not None else "Slurm's accounting does not tell the exit code"
    return End(EndKind.EXITED, exit_code=job.exit_code, detail=detail)


def _because(job: SlurmJob) -> str:
    return f" ({job.reason})" if job.reason not in ("", "None") else ""
