"""Posts events to receivers. Each receiver has a task, a place in the log, and all the time it needs.

An event is posted until the receiver takes it (2xx), and the next one only then: nothing is lost while the receiver, or
HAL, is away, and the order is that of the log. What was taken right before a crash may come once more; it has the same
`id`, by which the receiver can tell. An answer that says that this event is not wanted (400, 410, 413, 422) is taken at
its word, so that one event cannot stop all others.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Sequence
from typing import Any, Final

import httpx
import trio

from hal_core import (
    Event,
    EventLog,
    HalError,
    Options,
    event_text,
    event_view,
    job_of,
    session_user_of,
    structure_options,
)
from hal_observer_webhook.options import Receiver, WebhookOptions

logger = logging.getLogger("hal.webhook")

BATCH: Final = 500
KEEP_EVERY: Final = 1_000
"""Events that nobody wanted: their place need not be kept at each."""
PAUSE_S_MAX: Final = 60.0
PAUSE_ASKED_S_MAX: Final = 600.0
ANSWER_BYTES_MAX: Final = 65_536
UNWANTED: Final = frozenset({400, 410, 413, 422})


class WebhookObserver:
    """Observer that reads the log for each of its receivers."""

    def __init__(self, options: WebhookOptions, pause_s: float = 1.0) -> None:
        """`pause_s`: after the first attempt that failed; it doubles up to a minute."""
        for receiver in options.receivers.values():
            if receiver.secret_file:
                receiver.secret()  # a mistake is told at the start
        self._receivers = options.receivers
        self._pause_s = pause_s

    @classmethod
    def from_options(cls, options: Options) -> WebhookObserver:
        return cls(structure_options(WebhookOptions, options, "webhook"))

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        """Nothing: it reads the log itself."""

    async def read_log(self, log: EventLog) -> None:
        async with trio.open_nursery() as nursery:
            for name, receiver in self._receivers.items():
                nursery.start_soon(_Deliveries(name, receiver, log, self._pause_s).run)


class _Deliveries:
    """What one receiver is told, in order."""

    def __init__(self, name: str, receiver: Receiver, log: EventLog, pause_s: float) -> None:
        self._name = name
        self._receiver = receiver
        self._log = log
        self._pause_s = pause_s
        self._turn = trio.CapacityLimiter(1)
        """Of its own, and for one: what hangs takes no thread from anybody else, and never a second one."""

    async def run(self) -> None:
        reader = f"webhook.{self._name}"
        after = kept = await self._log.place(reader)
        timeout = httpx.Timeout(self._receiver.timeout_s)
        with httpx.Client(timeout=timeout, follow_redirects=False) as client:
            while True:
                for sequence, event in await self._log.read(after, BATCH):
                    after = sequence
                    body = await self._body(sequence, event)
                    if body is not None:
                        await self._deliver(client, body)
                    if body is not None or sequence - kept >= KEEP_EVERY:
                        await self._log.keep(reader, sequence)
                        kept = sequence

    async def _body(self, sequence: int, event: Event) -> dict[str, Any] | None:
        """What is posted of an event; None if the receiver does not want it."""
        kind, job_id, receiver = type(event).__name__, job_of(event), self._receiver
        if receiver.events and kind not in receiver.events:
            return None
        arrival = None if job_id is None else await self._log.arrival(job_id)
        user = arrival.owner.user if arrival else session_user_of(event)
        if receiver.users and user not in receiver.users:
            return None
        data = event_view(event)
        arrays = {arrival.job_id} if arrival is not None and arrival.spec.array else set()
        return {
            "id": sequence,
            "event": kind,
            "text": event_text(kind, data, arrays),
            "job_id": job_id,
            "job_name": arrival.spec.name if arrival else None,
            "user": user,
            "data": data,
        }

    async def _deliver(self, client: httpx.Client, body: dict[str, Any]) -> None:
        """Post until it is taken, or refused for good."""
        pause_s, was_told = self._pause_s, False
        while True:
            status, asked_s, problem = await self._attempt(client, body)
            if 200 <= status < 300 or status in UNWANTED:
                if status in UNWANTED:
                    logger.warning("receiver %s does not want event %d: %s", self._name, body["id"], problem)
                elif was_told:
                    logger.info("receiver %s takes events again", self._name)
                return
            if not was_told:
                logger.warning("receiver %s: %s; event %d waits for it", self._name, problem, body["id"])
                was_told = True
            await trio.sleep(max(pause_s, min(asked_s, PAUSE_ASKED_S_MAX)))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _attempt(self, client: httpx.Client, body: dict[str, Any]) -> tuple[int, float, str]:
        """(status or 0, how long it asks to wait, what is wrong)."""
        content = json.dumps(body).encode("ascii")
        headers = {
            "content-type": "application/json",
            "user-agent": "HAL",
            "x-hal-event": body["event"],
            "x-hal-delivery": str(body["id"]),
        }
        try:
            if self._receiver.secret_file:
                secret = await trio.to_thread.run_sync(self._receiver.secret)
                headers["x-hal-signature"] = "sha256=" + hmac.new(secret, content, hashlib.sha256).hexdigest()
            with trio.fail_after(self._receiver.timeout_s):
                return await trio.to_thread.run_sync(
                    self._post, client, content, headers, abandon_on_cancel=True, limiter=self._turn
                )
        except trio.TooSlowError:
            return 0, 0.0, f"no answer within {self._receiver.timeout_s:g} s"
        except (httpx.HTTPError, HalError) as error:
            return 0, 0.0, f"{type(error).__name__}: {error}".rstrip(": ")

    def _post(self, client: httpx.Client, content: bytes, headers: dict[str, str]) -> tuple[int, float, str]:
        """In a thread: what a receiver does cannot be felt on the loop, and nothing is left half done there."""
        read = 0
        with client.stream("POST", self._receiver.url, content=content, headers=headers) as answer:
            for piece in answer.iter_raw():  # So that the connection can be used again; but not without end.
                read += len(piece)
                if read > ANSWER_BYTES_MAX:
                    break
            after = answer.headers.get("retry-after", "")
            asked_s = float(after) if after.isascii() and after.isdecimal() and len(after) < 7 else 0.0
            return answer.status_code, asked_s, f"it answers {answer.status_code} {answer.reason_phrase}"
