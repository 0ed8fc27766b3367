"""Decide what a message means: (state, message, now) -> events and an answer. Pure; the state is only read.

A user's mistake raises errors.UserError and leaves no event. Observations of the planes never raise: a report that
does not fit what the state knows is answered with OrphanFound, so that the node cleans up.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, assert_never

from hal_core.models.event import AccessChanged, Event, ObserverDisabled, PolicyChanged
from hal_core.models.message import (
    AddDataset,
    AddReservation,
    AllocationIdle,
    Answer,
    BookingsReported,
    Cancel,
    ChangePolicy,
    ClockSet,
    CopiesReported,
    DefineCluster,
    DrainNode,
    EvictCopies,
    Hold,
    LoseSession,
    Message,
    NodeLeaving,
    NodeLost,
    NodeReported,
    NodeSilent,
    NoteAccess,
    NoteSession,
    ObserverFailed,
    OutputsMade,
    PartsChanged,
    PinDataset,
    PoolMessage,
    PredictionsMade,
    Release,
    RemoveDataset,
    RemoveReservation,
    Requeue,
    Resume,
    ResumeNode,
    SetPriority,
    SetWeight,
    StagingDone,
    StagingFailed,
    Submit,
    Suspend,
    Tick,
)
from hal_core.rules import (
    admission,
    catalogue,
    control,
    leaving,
    outputs,
    pool_control,
    predictions,
    reports,
    reservations,
    session_lives,
)
from hal_core.rules.bookings import bookings_reported

if TYPE_CHECKING:
    from hal_core.rules.state import State


def decide(state: State, message: Message, now_s: float) -> Generator[None, None, tuple[list[Event], Answer]]:
    """The events that the message leads to, in order, and the answer for whoever sent it. Pauses in a large one."""
    if isinstance(message, PoolMessage):
        return pool_control.decide(state, message, now_s)
    match message:
        case Submit():
            return (yield from admission.submit(state, message, now_s))
        case Cancel():
            return control.cancel(state, message, now_s)
        case Requeue():
            return control.requeue(state, message, now_s)
        case Hold() | Release():
            return control.hold_or_release(state, message, now_s), None
        case Suspend() | Resume():
            return control.suspend_or_resume(state, message, now_s)
        case SetPriority() | SetWeight():
            return control.set_priority_or_weight(state, message, now_s), None
        case BookingsReported():
            return bookings_reported(state, message, now_s), None
        case DrainNode() | ResumeNode():
            return control.drain_or_resume(state, message, now_s), None
        case AddReservation() | RemoveReservation():
            return reservations.add_or_remove(state, message, now_s), None
        case DefineCluster():
            return admission.define_cluster(state, message, now_s), None
        case NodeReported():
            return reports.node_reported(state, message, now_s), None
        case NodeSilent() | ClockSet():
            return reports.node_silent(state, message, now_s), None
        case NodeLost():
            return reports.node_lost(state, message, now_s), None
        case NodeLeaving():
            return leaving.node_leaving(state, message, now_s), None
        case PartsChanged():
            return reports.parts_changed(state, message, now_s), None
        case StagingDone() | StagingFailed():
            return reports.staging_over(state, message, now_s), None
        case PredictionsMade():
            return predictions.predictions_made(state, message, now_s), None
        case ObserverFailed() | ChangePolicy() | NoteAccess():
            return [_noted(message, now_s)], None
        case AddDataset():
            return catalogue.add(state, message, now_s), None
        case PinDataset() | RemoveDataset():
            return catalogue.pin_or_remove(state, message, now_s), None
        case EvictCopies():
            return catalogue.evict(state, message, now_s)
        case CopiesReported():
            return catalogue.copies_reported(state, message, now_s), None
        case OutputsMade():
            return outputs.outputs_made(state, message, now_s), None
        case AllocationIdle():
            return reports.allocation_idle(state, message, now_s), None
        case NoteSession() | LoseSession():
            return session_lives.note_or_lose(state, message, now_s)
        case Tick():
            return [*reports.nodes_overdue(state, now_s), *catalogue.expired(state, now_s)], None
        case _:
            assert_never(message)


def _noted(message: ObserverFailed | ChangePolicy | NoteAccess, now_s: float) -> Event:
    """What is only put on record."""
    match message:
        case ObserverFailed(observer=observer, detail=detail):
            return ObserverDisabled(now_s, observer, detail)
        case ChangePolicy(verdict=verdict, before=before):
            return PolicyChanged(now_s, verdict.policy, before, verdict.reason, verdict.gain)
        case NoteAccess(change=change, subject=subject, by=by, detail=detail):
            return AccessChanged(now_s, change, subject, by, detail)
