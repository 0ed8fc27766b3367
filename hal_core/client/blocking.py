"""`Client`: HAL from an ordinary Python program. One connection; use one Client in each thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from hal_core.client import calls
from hal_core.client.address import find_socket, given_socket
from hal_core.client.calls import Call, Page
from hal_core.client.sse import EventParser
from hal_core.client.transport import Connection, NoAnswer, Rejected, insist
from hal_core.client.views import EventRecord, HistoryEntry, JobRequest, JobView, NodeView
from hal_core.models.job import JobId

T = TypeVar("T")


class Client:
    """Raises the errors of hal_core.errors. `server`: the daemon's socket (default: as `hal` finds it)."""

    def __init__(self, server: str | None = None) -> None:
        path = find_socket(os.environ) if server is None else given_socket({"HAL_SERVER": server})
        self._connection = Connection(path)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def submit(self, what: JobRequest | Sequence[str] | str, **options: str | int | float | bool) -> JobId:
        """Submit a command (a sequence), the text of a script (a str), or a JobRequest.

        Options are those of `hal submit`: `client.submit(["hostname"], nodes=2, time="10m", exclusive=True)`.
        When this returns, the job is on disk. A lost answer is asked for again and never makes a second job.
        """
        return self._do(calls.submit(calls.request_from(what, options)))

    def submit_many(self, requests: Sequence[JobRequest | Sequence[str] | str]) -> list[JobId]:
        """Submit up to 10,000 jobs, all or none. The ids come in the order of the requests."""
        return self._do(calls.submit_many([calls.request_from(each, {}) for each in requests]))

    def job(self, job_id: int) -> JobView:
        return self._do(calls.job(job_id))

    def wait(self, job_id: int, timeout_s: float | None = None) -> JobView:
        """The job when it has ended. After `timeout_s` its view as it is then: look at `has_ended`."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = calls.LONG_POLL_S_MAX if deadline_s is None else max(deadline_s - time.monotonic(), 0)
            view = self._do(calls.job(job_id, min(left_s, calls.LONG_POLL_S_MAX)))
            if view.has_ended or left_s == 0:
                return view

    def queue(self, **filters: object) -> Iterator[JobView]:
        """Jobs that run or wait, page by page as they are used. Filters: state, user, partition, name."""
        return self._pages(calls.queue, filters)

    def history(self, **filters: object) -> Iterator[HistoryEntry]:
        """How jobs ended, latest first. Filters: as for `queue`, job_id, since_time_s, until_time_s, order."""
        return self._pages(calls.history, filters)

    def nodes(self, **filters: object) -> Iterator[NodeView]:
        """Filters: status, partition."""
        return self._pages(calls.nodes, filters)

    def cancel(self, job_id: int, indices: str | None = None) -> int:
        """How many elements were asked to end. `indices` such as "1-5,9" are those of an array."""
        return self._do(calls.act(job_id, "cancel", indices))

    def hold(self, job_id: int, indices: str | None = None) -> int:
        return self._do(calls.act(job_id, "hold", indices))

    def release(self, job_id: int, indices: str | None = None) -> int:
        return self._do(calls.act(job_id, "release", indices))

    def requeue(self, job_id: int, indices: str | None = None) -> int:
        return self._do(calls.act(job_id, "requeue", indices))

    def suspend_job(self, job_id: int, indices: str | None = None) -> int:
        """For operators: what runs stands still until `resume_job`, and others may use its CPUs meanwhile."""
        return self._do(calls.act(job_id, "suspend", indices))

    def resume_job(self, job_id: int, indices: str | None = None) -> int:
        """For operators: what was suspended goes on, as soon as nobody else runs on its CPUs."""
        return self._do(calls.act(job_id, "resume", indices))

    def set_priority(self, job_id: int, priority: int) -> None:
        """Of a job that waits: larger is earlier. Only operators may raise it above 0."""
        self._do(calls.set_priority(job_id, priority))

    def set_weight(self, job_id: int, weight: int) -> None:
        """Of an elastic job: its part of what all others leave, among yours."""
        self._do(calls.set_weight(job_id, weight))

    def drain(self, node: str, reason: str) -> None:
        self._do(calls.node_action(node, "drain", {"reason": reason}))

    def resume(self, node: str) -> None:
        self._do(calls.node_action(node, "resume", {}))

    def status(self) -> dict[str, Any]:
        return self._do(calls.status())

    def events(self, after: int | None = None, job_id: int | None = None) -> Iterator[EventRecord]:
        """Events after that sequence number (default: from now on), as they come, until the daemon stops.

        It has a connection of its own, so other calls can be made between two events.
        """
        parser = EventParser()
        with Connection(self._connection.path) as connection:
            try:
                for line in connection.lines(calls.events_target(after, job_id)):
                    if line is None:
                        raise NoAnswer("the daemon's event stream has been silent for too long")
                    if (event := parser.feed(line)) is not None:
                        yield calls.event_record(event)
            except (NoAnswer, Rejected) as error:
                raise calls.as_hal_error(error) from error

    def _do(self, call: Call[T]) -> T:
        def attempt(left_s: float) -> Any:
            return self._connection.request(call.method, call.target, call.body, left_s + call.extra_s)

        try:
            answer = insist(attempt) if call.can_repeat else attempt(self._connection.timeout_s)
        except (NoAnswer, Rejected) as error:
            raise calls.as_hal_error(error) from error
        return calls.decoded(call, answer.body)

    def _pages(
        self, of: Callable[[str | None, dict[str, object]], Call[Page[T]]], filters: dict[str, object]
    ) -> Iterator[T]:
        cursor = None
        while True:
            page = self._do(of(cursor, filters))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
