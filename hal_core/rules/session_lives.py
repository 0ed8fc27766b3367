"""Which sessions there are, as far as their brokers said, and how far each has told of its life. Pure.

Reports come twice, late and in any order, also over a restart of the daemon. Guarantee: each number of a session that
is remembered is an event at most once, and they come in ascending order; the broker repeats what was not taken, so none
is lost that it still has. What a session may put on record is bounded, and what all of one user may: a burst, and then
so many in an hour. So is what is kept here: of a user with `SESSIONS_OF_USER_MAX` sessions one that has ended is
forgotten for a new one, which has to wait if none has ended. What a user spent stays when a session is forgotten.
"""

from __future__ import annotations

import math
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
USER_BURST_COUNT: Final = 2_000
USER_AGAIN_S: Final = 5.0
"""The same for all sessions of a user: names of sessions cost nothing, so a bound for each is none."""


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


@attrs.frozen
class UserSpent:
    """`spent` of `USER_BURST_COUNT` was gone of the user's allowance at that time."""

    user: str
    spent: float
    time_s: float

    def spent_at(self, now_s: float) -> float:
        return max(0.0, self.spent - max(0.0, now_s - self.time_s) / USER_AGAIN_S)


class SessionLives:
    """A fold of SessionChanged: those of each user in the order in which they were heard last."""

    def __init__(self) -> None:
        self._lives: dict[str, dict[str, SessionLife]] = {}
        self._spent: dict[str, UserSpent] = {}

    def find(self, user: str, session: str) -> SessionLife | None:
        return self._lives.get(user, {}).get(session)

    def all(self) -> tuple[SessionLife, ...]:
        return tuple(life for lives in self._lives.values() for life in lives.values())

    def open(self) -> Iterator[SessionLife]:
        """Those whose brokers should say something."""
        return (life for lives in self._lives.values() for life in lives.values() if life.end is None)

    def spent(self) -> tuple[UserSpent, ...]:
        return tuple(self._spent.values())

    def room(self, user: str, session: str, now_s: float) -> int:
        """How many changes of it may be told now."""
        life, of_user = self.find(user, session), self._spent.get(user)
        if life is None and self._is_full(user):
            return 0
        own = BURST_COUNT - (0.0 if life is None else life.spent_at(now_s))
        users = USER_BURST_COUNT - (0.0 if of_user is None else of_user.spent_at(now_s))
        return max(0, math.ceil(min(own, users)))

    def apply(self, event: SessionChanged) -> None:
        change, before = event.change, self.find(event.user, event.session)
        spent = (0.0 if before is None else before.spent_at(event.time_s)) + 1.0
        end = change.kind if change.kind in ENDS else None
        self._keep(SessionLife(event.user, event.session, change.number, event.time_s, spent, end))
        of_user = self._spent.get(event.user)
        spent = (0.0 if of_user is None else of_user.spent_at(event.time_s)) + 1.0
        self._spent[event.user] = UserSpent(event.user, spent, event.time_s)

    def restore(self, lives: tuple[SessionLife, ...], spent: tuple[UserSpent, ...]) -> None:
        """From a dump."""
        for life in lives:
            self._keep(life)
        self._spent = {each.user: each for each in spent}

    def _is_full(self, user: str) -> bool:
        """Nothing can be forgotten for one more."""
        lives = self._lives.get(user, {})
        return len(lives) >= SESSIONS_OF_USER_MAX and all(life.end is None for life in lives.values())

    def _keep(self, life: SessionLife) -> None:
        """As the last. One that has ended makes room for it; in a journal of old also one that has not."""
        lives = self._lives.setdefault(life.user, {})
        lives.pop(life.session, None)
        if len(lives) >= SESSIONS_OF_USER_MAX:
            del lives[next((name for name, each in lives.items() if each.end is not None), next(iter(lives)))]
        lives[life.session] = life


def note_or_lose(state: State, message: NoteSession | LoseSession, now_s: float) -> tuple[list[Event], int | None]:
    """What is new of a session, as events; its answer is that of the message."""
    return note(state, message, now_s) if isinstance(message, NoteSession) else (lose(state, message, now_s), None)


def note(state: State, message: NoteSession, now_s: float) -> tuple[list[Event], int]:
    """What is new of it, as events. Answer: the number up to which nothing need be told again."""
    life = state.sessions.find(message.user, message.session)
    number, room = 0 if life is None else life.number, state.sessions.room(message.user, message.session, now_s)
    changes: list[SessionChange] = []
    if life is not None and life.end is SessionChangeKind.LOST and room:
        changes.append(SessionChange(number=life.number, time_s=now_s, kind=SessionChangeKind.HEARD_AGAIN))
    for change in sorted(message.changes, key=lambda each: each.number):
        if change.number > number and change.kind not in BY_DAEMON and len(changes) < room:
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
