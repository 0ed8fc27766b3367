"""Which sessions there are, as far as their brokers said, and how far each has told of its life. Pure.

Reports come twice, late and in any order, also over a restart of the daemon. Guarantee: each number of a session is an
event at most once, and they come in ascending order; the broker repeats what was not taken, so none is lost that it
still has. What it may put on record is bounded: a burst, and then so many in an hour. So is what is kept here: of a
user with more sessions than `SESSIONS_OF_USER_MAX` the one that said nothing for longest is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.models.event import Event, SessionChanged
from hal_core.models.message import LoseSession, NoteSession
from hal_core.models.session import BY_DAEMON, ENDS, SessionChange, SessionChangeKind

if TYPE_CHECKING:
    from hal_core.rules.state import State

SESSIONS_OF_USER_MAX: Final = 1_000
BURST_COUNT: Final = 200
AGAIN_S: Final = 60.0
"""So long it takes until one more may be told, after a burst."""


@attrs.frozen
class SessionLife:
    """`number` is of the last change that is on record; `spent` of `BURST_COUNT` was left of its allowance then."""

    user: str
    session: str
    number: int
    time_s: float
    spent: float
    end: SessionChangeKind | None
    """How it ended, if it did: then it may still come back, but for a closed one."""

    def spent_at(self, now_s: float) -> float:
        return max(0.0, self.spent - max(0.0, now_s - self.time_s) / AGAIN_S)


class SessionLives:
    """A fold of SessionChanged: in the order in which they were heard last."""

    def __init__(self) -> None:
        self._lives: dict[tuple[str, str], SessionLife] = {}
        self._counts: dict[str, int] = {}

    def find(self, user: str, session: str) -> SessionLife | None:
        return self._lives.get((user, session))

    def all(self) -> tuple[SessionLife, ...]:
        return tuple(self._lives.values())

    def open(self) -> Iterator[SessionLife]:
        """Those whose brokers should say something."""
        return (life for life in self._lives.values() if life.end is None)

    def apply(self, event: SessionChanged) -> None:
        change, before = event.change, self._lives.pop((event.user, event.session), None)
        spent = (0.0 if before is None else before.spent_at(event.time_s)) + 1.0
        end = change.kind if change.kind in ENDS else None
        self._keep(SessionLife(event.user, event.session, change.number, event.time_s, spent, end), before is None)

    def restore(self, lives: tuple[SessionLife, ...]) -> None:
        """From a dump."""
        for life in lives:
            self._keep(life, True)

    def _keep(self, life: SessionLife, is_new: bool) -> None:
        count = self._counts.get(life.user, 0) + is_new
        if count > SESSIONS_OF_USER_MAX:
            del self._lives[next(key for key in self._lives if key[0] == life.user)]
            count -= 1
        self._lives[life.user, life.session], self._counts[life.user] = life, count


def note_or_lose(state: State, message: NoteSession | LoseSession, now_s: float) -> tuple[list[Event], int | None]:
    """What is new of a session, as events; its answer is that of the message."""
    return note(state, message, now_s) if isinstance(message, NoteSession) else (lose(state, message, now_s), None)


def note(state: State, message: NoteSession, now_s: float) -> tuple[list[Event], int]:
    """What is new of it, as events. Answer: the number up to which nothing need be told again."""
    life = state.sessions.find(message.user, message.session)
    number, spent = (0, 0.0) if life is None else (life.number, life.spent_at(now_s))
    changes: list[SessionChange] = []
    if life is not None and life.end is SessionChangeKind.LOST:
        changes.append(SessionChange(number=life.number, time_s=now_s, kind=SessionChangeKind.HEARD_AGAIN))
    for change in sorted(message.changes, key=lambda each: each.number):
        if change.number > number and change.kind not in BY_DAEMON and spent + len(changes) < BURST_COUNT:
            changes.append(change)
            number = change.number
    return [SessionChanged(now_s, message.session, message.user, each) for each in changes], number


def lose(state: State, message: LoseSession, now_s: float) -> list[Event]:
    """Nothing if it said something meanwhile, or is over."""
    life = state.sessions.find(message.user, message.session)
    if life is None or life.end is not None or life.number != message.number:
        return []
    change = SessionChange(number=life.number, time_s=now_s, kind=SessionChangeKind.LOST)
    return [SessionChanged(now_s, message.session, message.user, change)]
