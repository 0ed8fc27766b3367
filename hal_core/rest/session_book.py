"""What the brokers of sessions have said lately. Kept in memory; one that is silent for half a minute is forgotten.

A session is its user's own process, which the daemon does not run: it knows what it is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from typing import Annotated, Final

import attrs
from msgspec import Meta

from hal_core.errors import Unavailable
from hal_core.models.session import CHANGES_MAX, ENDS, Count, SessionChange

SILENT_S_MAX: Final = 30.0
SESSIONS_MAX: Final = 10_000
SESSIONS_OF_USER_MAX: Final = 1_000


@attrs.frozen(kw_only=True)
class SessionFigures:
    """Counts of tasks; `rate_per_s` is of those settled lately."""

    worker_count: Count
    waiting_count: Count
    running_count: Count
    done_count: Count
    failed_count: Count
    dropped_count: Count
    rate_per_s: Annotated[float, Meta(ge=0)]
    job_ids: Annotated[tuple[Count, ...], Meta(max_length=10)] = ()
    """The jobs of its workers."""


@attrs.frozen(kw_only=True)
class SessionReport(SessionFigures):
    """How it does, and what happened since the broker last heard that such was heard."""

    changes: Annotated[tuple[SessionChange, ...], Meta(max_length=CHANGES_MAX)] = ()

    @property
    def is_last(self) -> bool:
        """Its broker says no more after this."""
        return bool(self.changes) and self.changes[-1].kind in ENDS

    def shown(self) -> SessionFigures:
        names = [field.name for field in attrs.fields(SessionFigures)]
        return SessionFigures(**{name: getattr(self, name) for name in names})


@attrs.frozen(kw_only=True)
class SessionView:
    session: str
    user: str
    report_time_s: float
    figures: SessionFigures


class SessionBook:
    """What brokers have said lately. `now_s` gives seconds since the epoch."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._views: dict[tuple[str, str], SessionView] = {}
        """In the order in which they were told last, so the silent ones are the first."""
        self._counts: Counter[str] = Counter()
        """Of each user's views."""

    def tell(self, user: str, session: str, report: SessionReport) -> None:
        """Raises Unavailable if there are too many."""
        self._forget_silent()
        key = user, session
        if key not in self._views:
            own = self._counts[user]
            if len(self._views) >= SESSIONS_MAX or own >= SESSIONS_OF_USER_MAX:
                raise Unavailable(f"{own} sessions of {user} and {len(self._views)} in all are known already")
        else:
            self._forget(key)
        if not report.is_last:
            figures = report.shown()
            self._views[key] = SessionView(session=session, user=user, report_time_s=self._now_s(), figures=figures)
            self._counts[user] += 1

    def known(self) -> Set[tuple[str, str]]:
        """User and session of those that are not silent, as long as nothing is told."""
        self._forget_silent()
        return self._views.keys()

    def views(self) -> tuple[SessionView, ...]:
        self._forget_silent()
        return tuple(sorted(self._views.values(), key=lambda each: (-each.figures.rate_per_s, each.session)))

    def render(self) -> bytes:
        """In the Prometheus text format: sums over all sessions."""
        figures = [each.figures for each in self.views()]
        lines = []
        for name, about, value in (
            ("hal_sessions", "Sessions that report.", len(figures)),
            ("hal_session_workers", "Workers of all sessions.", sum(each.worker_count for each in figures)),
            ("hal_session_tasks_waiting", "Tasks that wait.", sum(each.waiting_count for each in figures)),
            ("hal_session_tasks_running", "Tasks that run.", sum(each.running_count for each in figures)),
            ("hal_session_tasks_per_second", "Tasks settled lately.", sum(each.rate_per_s for each in figures)),
        ):
            lines.append(f"# HELP {name} {about}\n# TYPE {name} gauge\n{name} {value:.10g}\n")
        return "".join(lines).encode("ascii")

    def _forget_silent(self) -> None:
        """Also those of a time to come: the clock was set back, and they will say when they are there."""
        now_s = self._now_s()
        while self._views:
            key, first = next(iter(self._views.items()))
            if now_s - SILENT_S_MAX <= first.report_time_s <= now_s:
                return
            self._forget(key)

    def _forget(self, key: tuple[str, str]) -> None:
        del self._views[key]
        user, _ = key
        self._counts[user] -= 1
        if not self._counts[user]:
            del self._counts[user]
