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
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from msgspec import structs

import hal_core
from hal_core.client import AsyncClient, JobRequest
from hal_core.client.session_start import ORDER_VARIABLE, WORKER_PROGRAM
from hal_core.errors import HalError, Refused, Unavailable
from hal_core.models.ranges import RangeSet, format_ranges
from hal_core.sessions.door import CERTIFICATE, KEY, known_door, new_door
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.orders import WorkerOrder
from hal_core.sessions.sizes import Part, Size, main_of, resized, size_of, wanted_size
from hal_core.sessions.worker_jobs import AWAY_S, Taker, cancel_if_known, has_ended, set_each, wait_for_end
from hal_core.wire.private_files import write_private

if TYPE_CHECKING:
    from hal_core.sessions.chronicle import Chronicle
    from hal_core.wire.sessions import Adjust, Figures

HOST_VARIABLE: Final = "HAL_SESSION_HOST"
"""By what name or address nodes reach this machine, if not by its host name."""
TOLD: Final = ("worker_count", "waiting_count", "running_count", "done_count", "failed_count", "dropped_count")
JOBS_TOLD_MAX: Final = 10
TELL_S_MAX: Final = 5.0
"""For a daemon to hear of the end."""
TAKEN_S_MAX: Final = 10.0
"""For the daemon to take the jobs, before they can be set otherwise."""
COME_S_MAX: Final = 5.0
"""For the tasks of a job, which began together, to dial in, if the session is over before."""


class NodeWorkers:
    """`listener` and `context` are where they dial in; `run` has the job; `end` leaves none of it."""

    def __init__(self, options: BrokerOptions) -> None:
        self._options = options
        self._directory = Path(options.directory)
        door = known_door(self._directory)
        self._is_back = door is not None
        self.listener = socket.create_server(("", door.port if door else 0), reuse_port=False)
        self._door = door or new_door(self._directory, options.session, self.listener.getsockname()[1])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0  # A worker that finds something to read finds a message, never a ticket only.
        self.context.load_cert_chain(self._directory / CERTIFICATE, self._directory / KEY)
        self._ids: dict[str, int] = {}
        """The job of each part, by the part's client id."""
        self._taken = trio.Event()
        """There are jobs."""
        self._watching = trio.CancelScope()
        self._changing = trio.Lock()
        self.owes_cancels = False
        """Elements that are wanted no more may still be there: the daemon went away before it could be told."""
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
                await self._submit(client)
            view = None
            while view is None:
                with trio.CancelScope() as self._watching:
                    async with AsyncClient(self._options.server) as client:
                        view = await wait_for_end(client, self._ids[main_of(self._door.parts).client_id])
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
            if self.owes_cancels:
                with contextlib.suppress(HalError):  # Then the next time.
                    async with self._changing, AsyncClient(self._options.server) as client:
                        await self._let_go(client)
                        self._keep_door()

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
            "job_ids": list(self._ids.values())[:JOBS_TOLD_MAX],
        }

    async def _submit(self, client: Taker) -> None:
        """The jobs, when the daemon is there to take them. A broker that came back finds those of its predecessor, or
        has new ones if these have ended, with it or because it was away too long.

        Raises Unavailable when patience is at its end; that of a broker that came back has none, for its workers may be
        at work.
        """
        may_be_old, door = self._is_back, self._door
        deadline_s = math.inf if self._is_back else trio.current_time() + self._options.patience_s
        door.parts = door.parts or self._new_parts()
        while True:
            try:
                ids = {part.client_id: await client.submit(self._request(part)) for part in door.parts}
                if not (may_be_old and (await client.job(ids[main_of(door.parts).client_id])).has_ended):
                    self._ids = ids
                    self._taken.set()
                    self._note_trouble("")
                    self._keep_door()
                    await self._let_go(client)
                    return
                for job_id in ids.values():  # The elastic ones may be there still.
                    await cancel_if_known(client, job_id)
            except Unavailable as error:
                if trio.current_time() + AWAY_S > deadline_s:
                    raise
                most = f", at most {self._options.patience_s:g} s" if deadline_s < math.inf else ""
                self._note_trouble(f"waits for its daemon{most}: {error}")
                await trio.sleep(AWAY_S)
            else:
                may_be_old = False
                door.job_count += 1
                door.parts = self._new_parts()
                self._keep_door()

    def shown(self, figures: Figures) -> Figures:
        """With what is known here."""
        size, server = self.size, self._options.server
        counts = (size.own_count, size.own_count + size.elastic_count) if server else (0, 0)
        return structs.replace(
            figures,
            trouble=self.trouble,
            server=server,
            job_ids=self._door.job_ids,
            worker_count_min=counts[0],
            worker_count_max=counts[1],
            weight=self.weight,
        )

    @property
    def size(self) -> Size:
        return size_of(self._door.parts)

    @property
    def weight(self) -> int:
        """Of its elastic jobs: 0 if it has none."""
        if not self.size.elastic_count:
            return 0
        given = str(self._options.job.get("elastic", ""))
        return self._door.weight or (int(given) if given.isdecimal() else 1)

    def _name(self) -> str:
        """What the client ids of its jobs begin with."""
        count = self._door.job_count
        return f"session-{self._options.session}" + (f"-{count}" if count else "")

    def _new_parts(self) -> tuple[Part, ...]:
        """As the session was opened, or as large as it was when its jobs ended."""
        options = self._options
        wanted = self.size if self._door.parts else Size(options.node_worker_count, options.elastic_worker_count)
        return resized((), wanted, self._name()).parts

    def _keep_door(self) -> None:
        known = self._door.job_ids
        self._door.job_ids = (*known, *(job_id for job_id in self._ids.values() if job_id not in known))
        self._door.keep(self._directory)

    def _note_trouble(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self.on_trouble()

    async def adjust(self, wanted: Adjust, present: Set[str]) -> str:
        """Another priority, number or weight of the workers; `present` are the names of those that are here. Returns
        what is so now. Raises HalError if it cannot be; what had been done by then is said in it."""
        if self._options.order_path:
            raise Refused("its workers are the other tasks of the job that it runs in, which stay as they are")
        with trio.move_on_after(TAKEN_S_MAX):
            await self._taken.wait()
        if not self._ids:
            raise Refused("its job has not been taken by the daemon yet; try again")
        async with self._changing, AsyncClient(self._options.server) as client:
            return await self._adjust(client, wanted, present)

    async def _adjust(self, client: Taker, wanted: Adjust, present: Set[str]) -> str:
        await self._drop_ended(client)
        if self.owes_cancels:
            await self._let_go(client)
        size = wanted_size(self.size, wanted.worker_count_min, wanted.worker_count_max)
        if wanted.weight is not None and not size.elastic_count:
            raise Refused("weight: it has no elastic workers; give it more workers at most than at least")
        done, door = list[str](), self._door
        try:
            if (priority := wanted.priority) is not None:
                ids = [*self._ids.values()]
                await set_each(ids, lambda job_id: client.set_priority(job_id, priority), f"priority {priority}", done)
                door.priority = priority
            if (weight := wanted.weight) is not None:
                ids = [self._ids[part.client_id] for part in door.parts if part.is_elastic]
                await set_each(ids, lambda job_id: client.set_weight(job_id, weight), f"weight {weight}", done)
                door.weight = weight
            if size != self.size:
                await self._resize(client, size, self._places(present))
                when = " as soon as the daemon is back" if self.owes_cancels else ""
                done.append(f"{size.own_count} to {size.own_count + size.elastic_count} workers{when}")
        except HalError as error:
            raise Refused(f"{error} (done before: {', '.join(done)})") if done else error from None
        finally:
            self._keep_door()
        return ", ".join(done) or "nothing is changed"

    async def _drop_ended(self, client: Taker) -> None:
        """Parts whose jobs have ended, as if somebody cancelled an elastic one, cannot be set; workers that are wanted
        in their place are a new job. With the main one the session ends."""
        parts = self._door.parts
        main = main_of(parts)
        ended = {part for part in parts if part != main and await has_ended(client, self._ids[part.client_id])}
        self._keep_parts(tuple(part for part in parts if part not in ended))

    async def _resize(self, client: Taker, size: Size, present: Mapping[str, RangeSet]) -> None:
        """New jobs are on disk before they are submitted, and elements that go before they are cancelled: a broker that
        comes after this one does the rest."""
        door, before = self._door, self._door.parts
        door.growth_count += 1
        change = resized(before, size, f"{self._name()}-more-{door.growth_count}", present)
        door.parts = (*before, *change.new)
        self._keep_door()
        try:
            for part in change.new:
                self._ids[part.client_id] = await client.submit(self._request(part))
        except HalError:
            taken = [part for part in change.new if part.client_id in self._ids]
            door.parts = (*before, *(structs.replace(part, gone=((0, part.count),)) for part in taken))
            with contextlib.suppress(HalError):  # Then later.
                await self._let_go(client)
            raise
        door.parts = change.parts
        self._keep_door()
        self._watching.cancel()  # Another job may be the main one now.
        with contextlib.suppress(Unavailable):  # Then later.
            await self._let_go(client)

    async def _let_go(self, client: Taker) -> None:
        """Elements that are wanted no more. It may be said twice: those that have ended are left alone."""
        self.owes_cancels = True
        for part in self._door.parts:
            if part.gone:
                await cancel_if_known(client, self._ids[part.client_id], format_ranges(part.gone))
        self._keep_parts(tuple(part for part in self._door.parts if part.left))
        self.owes_cancels = False

    def _keep_parts(self, parts: tuple[Part, ...]) -> None:
        self._door.parts = parts
        self._ids = {part.client_id: self._ids[part.client_id] for part in parts}

    def _places(self, names: Set[str]) -> dict[str, RangeSet]:
        """Which elements of which part workers of these names are."""
        part_of = {str(job_id): client_id for client_id, job_id in self._ids.items()}
        places: dict[str, RangeSet] = {}
        for name in names:
            job, _, rest = name.partition("_")
            if job in part_of:
                places.setdefault(part_of[job], RangeSet()).add(int(rest.partition("_")[0] or 0))
        return places

    async def end(self, present: Set[str]) -> None:
        """Cancel the elements that are not here; those with these names end by themselves."""
        if self._options.order_path:
            with trio.move_on_after(COME_S_MAX):
                await self._all_came.wait()
            await trio.Path(self._options.order_path).unlink(missing_ok=True)
        here = self._places(present)
        for part in self._door.parts if self._ids else ():
            absent = part.left
            absent.difference_update(here.get(part.client_id, RangeSet()).ranges())
            if absent:
                with contextlib.suppress(HalError):  # Then they will find nobody, and end.
                    async with AsyncClient(self._options.server) as client:
                        await client.cancel(self._ids[part.client_id], format_ranges(absent.ranges()))

    def _job_options(self, part: Part) -> dict[str, str | int | float | bool]:
        options, door = dict(self._options.job), self._door
        if part.is_elastic:
            options["elastic"] = door.weight or options.get("elastic", True)
        elif self._options.elastic_worker_count:
            options.pop("elastic", None)
        if door.priority is not None:
            options.pop("nice", None)
            options["priority"] = door.priority
        return options

    def _request(self, part: Part) -> JobRequest:
        options = self._options
        given = [f"{name}={value}" for name, value in os.environ.items()]
        return JobRequest(
            command=[sys.executable, "-P", "-c", WORKER_PROGRAM, str(Path(hal_core.__file__).parents[1])],
            options={
                "array": f"0-{part.count - 1}",
                "job-name": f"session-{options.session}",
                "output": "/dev/null",
                **self._job_options(part),
            },
            environment=[*given, f"{ORDER_VARIABLE}={msgspec.json.encode(self._order()).decode()}"],
            client_id=part.client_id,
        )

    def _order(self) -> WorkerOrder:
        options, door = self._options, self._door
        host = os.environ.get(HOST_VARIABLE) or socket.gethostname()
        return WorkerOrder(options.directory, host, door.port, door.authority_pem, door.secret, options.import_path)
