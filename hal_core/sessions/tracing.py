"""A session as a span: from the start of its broker to its end, with what became of its tasks.

The jobs of its workers hang below it, and so does what tasks on this machine trace: they find it as TRACEPARENT in
their environment. A session that is started from a traced program goes on with that program's trace. Tasks have no
spans: there may be hundreds of thousands in a second. A broker that is killed takes its span with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Self

from hal_core.models.trace import VARIABLE, Trace, context_text, does_anybody_listen, trace_of

if TYPE_CHECKING:
    from hal_core.wire.sessions import Figures


class SessionSpan:
    """`begin` before any worker is forked, `end` when all is over. Nothing is loaded if nobody listens."""

    def __init__(self, session: str, trace: Trace) -> None:
        self._session, self._trace = session, trace
        self._begin_s = time.time()

    @classmethod
    def begin(cls, session: str, environment: MutableMapping[str, str]) -> Self | None:
        """Puts itself into the environment."""
        if not does_anybody_listen(environment):
            return None
        given = [f"{VARIABLE}={environment[VARIABLE]}"] if VARIABLE in environment else []
        trace = trace_of(f"session {session} {os.getpid()}", 0, time.time(), given)
        environment[VARIABLE] = context_text(trace.trace_id, trace.span_id)
        return cls(session, trace)

    def end(self, figures: Figures) -> None:
        """Waits until it is sent, for some seconds at most."""
        from hal_core.tracing import Span, SpanSender, TraceValue

        sender = SpanSender.from_environment(os.environ, "hal-session")
        if sender is None:
            return
        told: dict[str, TraceValue] = {
            "hal.session": self._session,
            "hal.tasks_done": figures.done_count,
            "hal.tasks_failed": figures.failed_count,
            "hal.tasks_dropped": figures.dropped_count,
            "hal.tasks_retried": figures.retried_count,
        }
        sender.send([Span("session", *self._trace, self._begin_s, time.time(), told)])
        sender.close()
