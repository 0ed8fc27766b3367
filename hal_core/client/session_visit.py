"""Looking in at one's sessions, and ending them, from outside their clients: for `hal sessions` and `hal session`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from hal_core.client.session_directory import (
    LIFE,
    connect,
    find_directory,
    known_sessions,
    remove_directory,
    sessions_directory,
)
from hal_core.errors import Refused
from hal_core.wire.sessions import (
    PROTOCOL_VERSION,
    Adjust,
    Adjusted,
    Ask,
    Cancel,
    Figures,
    Finish,
    Hello,
    Inbox,
    Rank,
    Refusal,
    Said,
    encode,
    receive,
)

ANSWER_S_MAX: Final = 10.0
ADJUST_S_MAX: Final = 60.0
"""For the broker to ask the daemon."""
ALL: Final = ((0, 1 << 62),)
NO_ANSWER: Final = "no broker answers; it is stopped, or busy"


def visit_all(environ: Mapping[str, str]) -> Iterator[tuple[str, Figures | None]]:
    """Each session of the user, with its figures if it runs."""
    for session in known_sessions(environ):
        yield session, figures_of(sessions_directory(environ) / session)


def visit(environ: Mapping[str, str], session: str) -> tuple[str, Figures | None]:
    """One. Raises NotFound."""
    directory = find_directory(environ, session)
    return directory.name, figures_of(directory)


def life(environ: Mapping[str, str], session: str) -> list[dict[str, Any]]:
    """What happened to it, the latest last, also if no broker runs: fields as of models.session.SessionChange."""
    path = sessions_directory(environ) / session / LIFE
    changes = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # The broker is at it, or a crash has torn it.
            changes.append(json.loads(line))
    return changes


def drain(environ: Mapping[str, str], session: str) -> str:
    """It ends when all its tasks are done; its results stay. Returns its id. Raises NotFound, or Refused."""
    directory = find_directory(environ, session)
    if not _say(directory, Finish(True)):
        raise Refused(f"session {directory.name} does not run; come back to it with hal_core.client.attach")
    return directory.name


def cancel(environ: Mapping[str, str], session: str) -> str:
    """It ends now, and nothing of it is kept. Returns its id. Raises NotFound."""
    directory = find_directory(environ, session)
    _say(directory, Cancel(ALL, True), Finish(False))
    remove_directory(directory)
    return directory.name


def cancel_tag(environ: Mapping[str, str], session: str, tag: str) -> str:
    """Drop the tasks with the tag, also those that run. Returns the session's id. Raises NotFound, or Refused."""
    return _tell(environ, session, Cancel(ALL, True, tag))


def set_priority(environ: Mapping[str, str], session: str, priority: int, tag: str) -> str:
    """Of the tasks with the tag. Returns the session's id. Raises NotFound, or Refused."""
    return _tell(environ, session, Rank(tag, priority))


def adjust(environ: Mapping[str, str], session: str, wanted: Adjust) -> tuple[str, str]:
    """Number, weight and priority of its workers. Returns its id, and what is so now. Raises NotFound, or Refused."""
    directory = find_directory(environ, session)
    return directory.name, adjust_in(directory, wanted)


def adjust_in(directory: Path, wanted: Adjust) -> str:
    """The same. Returns what is so now."""
    for answer in _ask(directory, wanted, within_s=ADJUST_S_MAX):
        if isinstance(answer, Adjusted):
            return answer.text
        if isinstance(answer, Refusal):
            raise Refused(f"session {directory.name}: {answer.text}")
    raise Refused(f"session {directory.name}: {NO_ANSWER}")


def figures_of(directory: Path) -> Figures | None:
    """None if no broker answers."""
    answers = _ask(directory, Ask())
    return next((each for each in answers if isinstance(each, Figures)), None)


def is_silent(directory: Path, within_s: float = ANSWER_S_MAX) -> bool:
    """Whether a broker is there, and does not answer in time."""
    connection = connect(directory)
    if connection is None:
        return False
    with connection:
        connection.settimeout(within_s)
        try:
            connection.sendall(encode(Hello(PROTOCOL_VERSION, "visitor")) + encode(Ask()))
            connection.recv(1)
        except TimeoutError:
            return True
        except OSError:
            return False
    return False


def has_broker(environ: Mapping[str, str], session: str) -> bool:
    """Whether one takes connections; it may be stopped all the same."""
    connection = connect(sessions_directory(environ) / session)
    if connection is not None:
        connection.close()
    return connection is not None


def _tell(environ: Mapping[str, str], session: str, message: Said) -> str:
    """Something that only a broker can do, and may refuse."""
    directory = find_directory(environ, session)
    answers = _ask(directory, message, Ask())
    refusal = next((each.text for each in answers if isinstance(each, Refusal)), "")
    if refusal or not answers:
        raise Refused(f"session {directory.name}: {refusal or NO_ANSWER}")
    return directory.name


def _say(directory: Path, *messages: Said) -> bool:
    """Whether a broker was there. Waits until it has heard, which its answer or its end shows."""
    return bool(_ask(directory, *messages, Ask())) or not os.path.exists(directory)


def _ask(directory: Path, *messages: Said, within_s: float = ANSWER_S_MAX) -> list[Said]:
    connection = connect(directory)
    if connection is None:
        return []
    with connection, contextlib.suppress(OSError):
        connection.settimeout(within_s)
        connection.sendall(b"".join(map(encode, (Hello(PROTOCOL_VERSION, "visitor"), *messages))))
        return receive(connection, Inbox()) or []
    return []
