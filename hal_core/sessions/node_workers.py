"""Workers as jobs of HAL: an array with one element for each worker, placed by the engine wherever there is room, and
another of elastic ones if the session may have more of them.

The broker submits them, waits for its elements to dial in, and cancels those that never did when the session is over.
The session's id makes the submission idempotent, so a broker that was started again has the same jobs.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import msgspec
import trio

import hal_core
from hal_core.client import AsyncClient, JobRequest
from hal_core.client.session_start import ORDER_VARIABLE, WORKER_PROGRAM
from hal_core.errors import HalError, Unavailable
from hal_core.models.ranges import RangeSet, format_ranges
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.orders import WorkerOrder
from hal_core.wire import certificates
from hal_core.wire.private_files import read_private, write_private

if TYPE_CHECKING:
    from hal_core.client import JobView
    from hal_core.sessions.chronicle import Chronicle
    from hal_core.wire.sessions import Figures

STATE: Final = "workers"
KEY: Final = "workers.key"
CERTIFICATE: Final = "workers.pem"
HOST_VARIABLE: Final = "HAL_SESSION_HOST"
"""By what name or address nodes reach this machine, if not by its host name."""
AWAY_S: Final = 2.0
"""Between two questions to a daemon that does not answer."""
TOLD: Final = ("worker_count", "waiting_count", "running_count", "done_count", "failed_count", "dropped_count")
JOBS_TOLD_MAX: Final = 10
TELL_S_MAX: Final = 5.0
"""For a daemon to hear of the end."""
COME_S_MAX: Final = 5.0
"""For the tasks of a job, which began together, to dial in, if the session is over before."""


class Door(msgspec.Struct):
    """What must survive the broker, so that workers find its successor and believe it."""

    port: int
    secret: str
    authority_pem: str
    job_count: int = 0
    """How often its jobs had ended when a broker came back to it: each time there are new ones."""
    job_ids: tuple[int, ...] = ()
    """All that there were."""


@attrs.frozen
class Part:
    """One job of workers."""

    client_id: str
    count: int
    options: Mapping[str, str | int | float | bool]


class NodeWorkers:
    """`listener` and `context` are where they dial in; `run` has the job; `end` leaves none of it."""

    def __init__(self, options: BrokerOptions) -> None:
        self._options = options
        self._directory = Path(options.directory)
        door = self._known_door()
        self._is_back = door is not None
        self.listener = socket.create_server(("", door.port if door else 0), reuse_port=False)
        self._door = door or self._new_door(self.listener.getsockname()[1])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0  # A worker that finds something to read finds a message, never a ticket only.
        self.context.load_cert_chain(self._directory / CERTIFICATE, self._directory / KEY)
        self._jobs: list[tuple[int, int]] = []
        """(id, how many elements) of each."""
        self._came: set[str] = set()
        self._all_came = trio.Event()
        self.figures: Callable[[], Figures] | None = None
        """How the session does, which the daemon is told now and then. Filled in by whoever has the broker."""
        self.trouble = ""
        """Why there are no workers yet; empty if there is no such reason."""
        self.on_trouble: Callable[[], None] = lambda: None
        """Called when there is another."""
        self.chronicle: Chronicle | None = None
        """What happened to the session, which the daemon is told with its figures."""

    def note(self, name: str) -> None:
        """This worker has come."""
        self._came.add(name)
        if len(self._came) >= self._options.node_worker_count:
            self._all_came.set()

    def is_secret(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._door.secret.encode())

    async def run(self) -> str:
        """Submit the jobs and wait for the end of the first, which should not come before the session's. Returns how it
        ended. Tasks of our own job, which are there already, are told where to dial."""
        if self._options.order_path:
            write_private(Path(self._options.order_path), msgspec.json.encode(self._order()))
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_figures)
            why = await self._run_jobs()
            nursery.cancel_scope.cancel()
        return why

    async def _run_jobs(self) -> str:
        try:
            async with AsyncClient(self._options.server) as client:
                self._jobs = await self._submit(client)
                view = await wait_for_end(client, self._jobs[0][0])
        except (HalError, ValueError) as error:  # ValueError: the address of the server is none
            return f"no workers: {error}"
        end = view.end
        why = (end.detail or end.kind.value) if end is not None else view.state.value
        return f"job {view.job_id} of the session's workers has ended: {view.state.value.lower()}, {why}"

    async def _tell_figures(self) -> None:
        """For the daemon's page and metrics. Nothing depends on it."""
        again_s = AWAY_S
        while self.figures is not None:
            await trio.sleep(again_s)
            again_s = await self._tell() or again_s

    async def tell_end(self) -> None:
        """The last of what happened: a daemon that is away never hears of it, and finds the session silent."""
        if self._options.server:
            with trio.move_on_after(TELL_S_MAX):
                await self._tell()

    async def _tell(self) -> float:
        """Returns when to tell again; 0 if the daemon was not there to say it."""
        assert self.figures is not None
        assert self.chronicle is not None
        report = self._told(self.figures())
        report["changes"] = msgspec.to_builtins(await self.chronicle.untold())
        try:
            async with AsyncClient(self._options.server) as client:
                told = await client.tell_session(self._options.session, report)
        except (HalError, ValueError):
            return 0.0
        self.chronicle.was_heard(told.heard_number)
        return told.again_s

    def _told(self, figures: Figures) -> dict[str, object]:
        counts = {name: getattr(figures, name) for name in TOLD}
        return {
            **counts,
            "rate_per_s": figures.rate_per_s,
            "job_ids": [job_id for job_id, _ in self._jobs][:JOBS_TOLD_MAX],
        }

    async def _submit(self, client: Taker) -> list[tuple[int, int]]:
        """The jobs, when the daemon is there to take them. A broker that came back finds those of its predecessor, or
        has new ones if these have ended, with it or because it was away too long.

        Raises Unavailable when patience is at its end; that of a broker that came back has none, for its workers may be
        at work.
        """
        may_be_old = self._is_back
        deadline_s = math.inf if self._is_back else trio.current_time() + self._options.patience_s
        while True:
            try:
                jobs: list[tuple[int, int]] = [
                    (await client.submit(self._request(each)), each.count) for each in self._parts()
                ]
                if not (may_be_old and (await client.job(jobs[0][0])).has_ended):
                    self._note_trouble("")
                    self._note_jobs(jobs)
                    return jobs
            except Unavailable as error:
                if trio.current_time() + AWAY_S > deadline_s:
                    raise
                most = f", at most {self._options.patience_s:g} s" if deadline_s < math.inf else ""
                self._note_trouble(f"waits for its daemon{most}: {error}")
                await trio.sleep(AWAY_S)
            else:
                may_be_old = False
                self._door.job_count += 1
                write_private(self._directory / STATE, msgspec.json.encode(self._door))

    @property
    def job_ids(self) -> tuple[int, ...]:
        """All jobs of workers that the session has had."""
        return self._door.job_ids

    def _note_jobs(self, jobs: Sequence[tuple[int, int]]) -> None:
        known = self._door.job_ids
        self._door.job_ids = (*known, *(job_id for job_id, _ in jobs if job_id not in known))
        if self._door.job_ids != known:
            write_private(self._directory / STATE, msgspec.json.encode(self._door))

    def _note_trouble(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self.on_trouble()

    async def set_priority(self, priority: int) -> str:
        """Of the jobs, as far as they wait. Returns why that cannot be; empty if it was done."""
        if not self._jobs:
            return "its job has not been taken by the daemon yet; try again"
        try:
            async with AsyncClient(self._options.server) as client:
                for job_id, _ in self._jobs:
                    await client.set_priority(job_id, priority)
        except HalError as error:
            return str(error)
        return ""

    async def end(self, present: Set[str]) -> None:
        """Cancel the elements that are not here; those with these names end by themselves."""
        if self._options.order_path:
            with trio.move_on_after(COME_S_MAX):
                await self._all_came.wait()
            await trio.Path(self._options.order_path).unlink(missing_ok=True)
        here: dict[str, RangeSet] = {}
        for name in present:
            job, _, rest = name.partition("_")
            index = int(rest.partition("_")[0] or 0)
            here.setdefault(job, RangeSet()).add(index)
        for job_id, count in self._jobs:
            absent = RangeSet([(0, count)])
            absent.difference_update(here.get(str(job_id), RangeSet()).ranges())
            if absent:
                with contextlib.suppress(HalError):  # Then they will find nobody, and end.
                    async with AsyncClient(self._options.server) as client:
                        await client.cancel(job_id, format_ranges(absent.ranges()))

    def _parts(self) -> list[Part]:
        """What it has in any case comes first; it ends the session with it."""
        options, count = self._options, self._door.job_count
        name = f"session-{options.session}" + (f"-{count}" if count else "")
        own = {key: value for key, value in options.job.items() if key != "elastic" or not options.elastic_worker_count}
        parts = [Part(name, options.node_worker_count, own)] if options.node_worker_count else []
        if options.elastic_worker_count:
            elastic = {"elastic": True, **options.job}
            parts.append(Part(f"{name}-elastic", options.elastic_worker_count, elastic))
        return parts

    def _request(self, part: Part) -> JobRequest:
        options = self._options
        given = [f"{name}={value}" for name, value in os.environ.items()]
        return JobRequest(
            command=[sys.executable, "-P", "-c", WORKER_PROGRAM, str(Path(hal_core.__file__).parents[1])],
            options={
                "array": f"0-{part.count - 1}",
                "job-name": f"session-{options.session}",
                "output": "/dev/null",
                **part.options,
            },
            environment=[*given, f"{ORDER_VARIABLE}={msgspec.json.encode(self._order()).decode()}"],
            client_id=part.client_id,
        )

    def _order(self) -> WorkerOrder:
        options, door = self._options, self._door
        host = os.environ.get(HOST_VARIABLE) or socket.gethostname()
        return WorkerOrder(options.directory, host, door.port, door.authority_pem, door.secret, options.import_path)

    def _known_door(self) -> Door | None:
        path = self._directory / STATE
        return msgspec.json.decode(read_private(path), type=Door) if path.exists() else None

    def _new_door(self, port: int) -> Door:
        """An authority and a certificate for this session alone."""
        key, now_s = certificates.make_key(), time.time()
        authority_pem = certificates.make_authority(f"session {self._options.session}", key, now_s)
        own_key = certificates.make_key()
        issued = certificates.Signer.load(authority_pem, key).sign_daemon(own_key, now_s)
        write_private(self._directory / KEY, own_key)
        write_private(self._directory / CERTIFICATE, issued.pem)
        door = Door(port, secrets.token_urlsafe(32), authority_pem.decode())
        write_private(self._directory / STATE, msgspec.json.encode(door))  # Last: it says that all the rest is there.
        return door


class Waiter(Protocol):
    """AsyncClient, as far as it is needed here."""

    async def wait(self, job_id: int) -> JobView: ...


class Taker(Protocol):
    """The same, to have jobs taken."""

    async def submit(self, what: JobRequest, /) -> int: ...
    async def job(self, job_id: int) -> JobView: ...


async def wait_for_end(client: Waiter, job_id: int) -> JobView:
    """A daemon that is away, however long, takes no worker with it: it is asked again when it is back."""
    while True:
        try:
            return await client.wait(job_id)
        except Unavailable:
            await trio.sleep(AWAY_S)
