"""Workers as a job of HAL: an array with one element for each worker, placed by the engine wherever there is room.

The broker submits it, waits for its elements to dial in, and cancels those that never did when the session is over.
The session's id makes the submission idempotent, so a broker that was started again has the same job.
"""

from __future__ import annotations

import os
import secrets
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

import hal_core
from hal_core.client import AsyncClient, JobRequest
from hal_core.errors import HalError
from hal_core.models.ranges import RangeSet, format_ranges
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.orders import VARIABLE, WorkerOrder
from hal_core.wire import certificates
from hal_core.wire.private_files import read_private, write_private

STATE: Final = "workers"
KEY: Final = "workers.key"
CERTIFICATE: Final = "workers.pem"
HOST_VARIABLE: Final = "HAL_SESSION_HOST"
"""By what name or address nodes reach this machine, if not by its host name."""
PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv[1]); from hal_core.sessions.node_worker import main; main()"


class Door(msgspec.Struct):
    """What must survive the broker, so that workers find its successor and believe it."""

    port: int
    secret: str
    authority_pem: str


class NodeWorkers:
    """`listener` and `context` are where they dial in; `run` has the job; `end` leaves none of it."""

    def __init__(self, options: BrokerOptions) -> None:
        self._options = options
        self._directory = Path(options.directory)
        door = self._known_door()
        self.listener = socket.create_server(("", door.port if door else 0), reuse_port=False)
        self._door = door or self._new_door(self.listener.getsockname()[1])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0  # A worker that finds something to read finds a message, never a ticket only.
        self.context.load_cert_chain(self._directory / CERTIFICATE, self._directory / KEY)
        self._job_id: int | None = None

    def is_secret(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._door.secret.encode())

    async def run(self) -> str:
        """Submit the job and wait for its end, which should not come before the session's. Returns how it ended."""
        try:
            async with AsyncClient(self._options.server) as client:
                self._job_id = await client.submit(self._request())
                view = await client.wait(self._job_id)
        except HalError as error:
            return f"no workers: {error}"
        end = view.end
        why = (end.detail or end.kind.value) if end is not None else view.state.value
        return f"job {view.job_id} of the session's workers has ended: {view.state.value.lower()}, {why}"

    async def set_priority(self, priority: int) -> str:
        """Of the job, as far as it waits. Returns why that cannot be; empty if it was done."""
        if self._job_id is None:
            return "its job has not been taken by the daemon yet; try again"
        try:
            async with AsyncClient(self._options.server) as client:
                await client.set_priority(self._job_id, priority)
        except HalError as error:
            return str(error)
        return ""

    async def end(self, arrived: RangeSet) -> None:
        """Cancel the elements that have not dialled in; the others end by themselves."""
        absent = RangeSet([(0, self._options.node_worker_count)])
        absent.difference_update(arrived.ranges())
        if self._job_id is not None and absent:
            try:
                async with AsyncClient(self._options.server) as client:
                    await client.cancel(self._job_id, format_ranges(absent.ranges()))
            except HalError:
                return  # They will find nobody, and end.

    def _request(self) -> JobRequest:
        options = self._options
        host = os.environ.get(HOST_VARIABLE) or socket.gethostname()
        order = WorkerOrder(
            options.directory, host, self._door.port, self._door.authority_pem, self._door.secret, options.import_path
        )
        given = [f"{name}={value}" for name, value in os.environ.items()]
        return JobRequest(
            command=[sys.executable, "-P", "-c", PROGRAM, str(Path(hal_core.__file__).parents[1])],
            options={
                "array": f"0-{options.node_worker_count - 1}",
                "job-name": f"session-{options.session}",
                "output": "/dev/null",
                **options.job,
            },
            environment=[*given, f"{VARIABLE}={msgspec.json.encode(order).decode()}"],
            client_id=f"session-{options.session}",
        )

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
