"""What happened in the life of a session, as words for people. From plain values, like event_words."""

from __future__ import annotations

from hal_core.models.plural import plural

TYPE_CHECKING = False  # as in event_words
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

    Values = Mapping[str, Any]


def change_text(values: Values) -> str:
    """`3 workers joined; it has 5`. A kind of a newer HAL, which is not known here, is told by its name."""
    kind = str(values["kind"])
    text = TEXTS[kind](values) if kind in TEXTS else kind.replace("_", " ")
    return f"{text}: {values['detail']}" if values.get("detail") else text


def _repeated(text: str) -> Callable[[Values], str]:
    return lambda values: text if values["count"] == 1 else f"{text} ({values['count']} times)"


def _over(verb: str) -> Callable[[Values], str]:
    """With the counts that it ended with."""

    def told(values: Values) -> str:
        done, failed = plural(values["done_count"], "task"), values["failed_count"]
        return f"{verb}, {done} done, {failed} failed, {values['dropped_count']} dropped"

    return told


def _hosts(verb: str) -> Callable[[Values], str]:
    return lambda values: f"{plural(values['count'], 'node')} {verb}"


TEXTS: Final[Mapping[str, Callable[[Values], str]]] = {
    "opened": lambda values: "opened",
    "recovered": _repeated("goes on with a new broker"),
    "client_left": _repeated("its client has gone"),
    "client_returned": _repeated("its client has come back"),
    "workers_joined": lambda values: f"{plural(values['count'], 'worker')} joined, it has {values['worker_count']}",
    "workers_left": lambda values: f"{plural(values['count'], 'worker')} left, it has {values['worker_count']}",
    "settings_changed": _repeated("set otherwise"),
    "tasks_set_aside": lambda values: f"{plural(values['count'], 'task')} set aside because workers died",
    "host_blocked": _hosts("blocked"),
    "host_tried": _hosts("on probation"),
    "host_forgiven": _hosts("as good as any again"),
    "draining": lambda values: "ends after its tasks",
    "cancelled": lambda values: "is to end at once",
    "parked": _over("rests until somebody comes back to it"),
    "closed": _over("closed"),
    "lost": lambda values: "is silent: its broker says nothing any more",
    "heard_again": lambda values: "is heard again",
}
