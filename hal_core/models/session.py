"""What happens in the life of a session, as its broker numbers it and tells it.

A session is its user's own process, of which the daemon knows what it is told: by reports that may come twice, late or
not at all. So each change has a number, from 1 on without gaps; who has heard of a number has heard of all before it.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

import attrs
from msgspec import Meta

CHANGES_MAX: Final = 20
"""In one report."""
DETAIL_LETTERS_MAX: Final = 300
Count = Annotated[int, Meta(ge=0, le=1 << 53)]


class SessionChangeKind(Enum):
    """What happened."""

    OPENED = "opened"
    RECOVERED = "recovered"
    CLIENT_LEFT = "client_left"
    CLIENT_RETURNED = "client_returned"
    WORKERS_JOINED = "workers_joined"
    WORKERS_LEFT = "workers_left"
    SETTINGS_CHANGED = "settings_changed"
    TASKS_SET_ASIDE = "tasks_set_aside"
    HOST_BLOCKED = "host_blocked"
    HOST_TRIED = "host_tried"
    HOST_FORGIVEN = "host_forgiven"
    DRAINING = "draining"
    CANCELLED = "cancelled"
    PARKED = "parked"
    CLOSED = "closed"
    LOST = "lost"
    HEARD_AGAIN = "heard_again"


BY_DAEMON: Final = frozenset({SessionChangeKind.LOST, SessionChangeKind.HEARD_AGAIN})
"""These are the daemon's own: no broker says them, and they have the number of the last that it said."""
ENDS: Final = frozenset({SessionChangeKind.PARKED, SessionChangeKind.CLOSED, SessionChangeKind.LOST})
"""After these its broker is not expected to say anything."""


@attrs.frozen(kw_only=True)
class SessionChange:
    """`count` of them are told as one: so many workers, tasks, hosts, or times; `detail` and `worker_count` are of
    the last. The other counts are of the session, when this was numbered."""

    number: Annotated[int, Meta(ge=1, le=1 << 53)]
    time_s: Annotated[float, Meta(ge=0)]
    kind: SessionChangeKind
    count: Annotated[int, Meta(ge=1, le=1 << 53)] = 1
    detail: Annotated[str, Meta(max_length=DETAIL_LETTERS_MAX)] = ""
    worker_count: Count = 0
    done_count: Count = 0
    failed_count: Count = 0
    dropped_count: Count = 0


@attrs.frozen
class SessionChanged:
    """Something happened in the life of a session, as its broker says; or the broker fell silent."""

    time_s: float
    session: str
    user: str
    change: SessionChange


@attrs.frozen
class NoteSession:
    """Its broker says what happened. Answer: the number up to which that is on record."""

    user: str
    session: str
    changes: tuple[SessionChange, ...]


@attrs.frozen
class LoseSession:
    """Its broker has said nothing for long; `number` is of the last change that it had told then."""

    user: str
    session: str
    number: int
