"""Routes about sessions: their brokers say now and then how they do, and whoever wants to see them asks here."""

from __future__ import annotations

import re
from typing import Final

import attrs

from hal_core.errors import InvalidInput, Problem
from hal_core.models.message import NoteSession
from hal_core.models.session import SessionChange, SessionChangeKind
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.call import Call, Route
from hal_core.rest.rights import Verb
from hal_core.rest.session_book import SILENT_S_MAX, SessionReport, SessionView
from hal_core.rest.strict_json import PROBLEMS_MAX, convert, read_json, unknown_fields

_ID: Final = re.compile(r"[0-9a-f]{8,40}")


@attrs.frozen
class SessionsAnswer:
    """Those that said something in the last half minute, the busiest first."""

    sessions: tuple[SessionView, ...]


@attrs.frozen
class SessionToldAnswer:
    session: str
    again_s: float
    """When to tell the next time."""
    heard_number: int
    """As far as this, its changes are on record and need not be told again."""


async def list_sessions(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_NODES)
    return json_answer(SessionsAnswer(call.context.sessions.views()))


async def tell_session(call: Call) -> Answer:
    call.caller.insist(Verb.SUBMIT)
    session = call.path["name"]
    if not _ID.fullmatch(session):
        raise InvalidInput([Problem("name", f"a session's id is of the digits 0-9 and a-f, not {session[:40]!r}")])
    user, report, context = call.caller.user, read_report(call.body), call.context
    context.sessions.tell(user, session, report)
    life = context.kernel.state.sessions.find(user, session)
    number = 0 if life is None else life.number
    is_back = life is not None and life.end is SessionChangeKind.LOST
    if is_back or any(change.number > number for change in report.changes):
        number = await context.kernel.ask(NoteSession(user, session, report.changes))
    return json_answer(SessionToldAnswer(session, SILENT_S_MAX / 6, number))


def read_report(body: bytes) -> SessionReport:
    """Raises BadRequest or InvalidInput."""
    value = read_json(body)
    problems = list(unknown_fields(value, SessionReport, ""))
    changes = value.get("changes") if isinstance(value, dict) else None
    for at, change in enumerate(changes if isinstance(changes, list) else ()):
        problems += unknown_fields(change, SessionChange, f"changes[{at}]")
    if problems:
        raise InvalidInput(problems[:PROBLEMS_MAX])
    return convert(value, SessionReport)


ROUTES = (
    Route(
        method="GET",
        path="/v1/sessions",
        handler=list_sessions,
        summary="Sessions that run, with their rates",
        answer=SessionsAnswer,
        reads_state=False,
    ),
    Route(
        method="POST",
        path="/v1/sessions/{name}",
        handler=tell_session,
        summary="A session's broker says how it does",
        body=SessionReport,
        is_body_raw=True,
        answer=SessionToldAnswer,
        reads_state=False,
    ),
)
