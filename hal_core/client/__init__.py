"""What a user's program imports: `Client` (blocking), `AsyncClient` (trio), and `session` for many short tasks.

Lazy, because the CLI passes through here on its way to the transport and must pay for nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hal_core.client.asynchronous import AsyncClient
    from hal_core.client.blocking import Client
    from hal_core.client.session_commands import CommandEnd
    from hal_core.client.session_pipes import PipeProgram
    from hal_core.client.sessions import Session, attach, session
    from hal_core.client.views import EventRecord, HistoryEntry, JobRequest, JobView, NodeView

__all__ = [
    "AsyncClient",
    "Client",
    "CommandEnd",
    "EventRecord",
    "HistoryEntry",
    "JobRequest",
    "JobView",
    "NodeView",
    "PipeProgram",
    "Session",
    "attach",
    "session",
]

_HOMES = {
    "AsyncClient": "asynchronous",
    "Client": "blocking",
    "CommandEnd": "session_commands",
    "PipeProgram": "session_pipes",
    **dict.fromkeys(("Session", "attach", "session"), "sessions"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'views')}"), name)
