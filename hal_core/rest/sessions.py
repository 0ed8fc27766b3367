"""Routes about sessions: their brokers say now and then how they do, and whoever wants to see them asks here."""

from __future__ import annotations

import re
from typing import Final

import attrs

from hal_core.errors import InvalidInput, Problem
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.call import Call, Route
from hal_core.rest.rights import Verb
from hal_core.rest.session_book import SILENT_S_MAX, SessionReport, SessionView

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


async def list_sessions(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_NODES)
    return json_answer(SessionsAnswer(call.context.sessions.views()))


async def tell_session(call: Call) -> Answer:
    call.caller.insist(Verb.SUBMIT)
    session = call.path["name"]
    if not _ID.fullmatch(session):
        raise InvalidInput([Problem("name", f"a session's id is of the digits 0-9 and a-f, not {session[:40]!r}")])
    call.context.sessions.tell(call.caller.user, session, call.body)
    return json_answer(SessionToldAnswer(session, SILENT_S_MAX / 6))


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
        answer=SessionToldAnswer,
        reads_state=False,
    ),
)
