"""The whole REST room on a real Unix socket, over the small real kernel, for callers of any user id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

from hal_core.models.plugin import PluginListing, PluginStatus
from hal_core.models.role import Role
from hal_core.rest.app import body_bytes_max, build_app
from hal_core.rest.asgi import AsgiApp, Limits, Peer
from hal_core.rest.listener import Server
from hal_core.rest.port import ConfigurationView, Context
from hal_core.rest.unix_socket import identify_unix_peer, open_unix_socket
from hal_core.testing import FakeEngine
from tests.support.http_client import Client, Response, connect
from tests.support.rest_kernel import RestKernel

USERS = {1001: "ada", 1002: "bob", 1003: "oper", 1004: "admin"}
ROLES = {"oper": Role.OPERATOR, "admin": Role.ADMINISTRATOR}
ADA, BOB, OPERATOR, ADMINISTRATOR = USERS
CONFIGURATION = {
    "cluster": {"name": "test"},
    "engine": {"name": "fcfs", "options": {}},
    "tuning": {"every": 1800.0, "engines": {}},
    "listen": {"reports": ""},
}


class Api:
    """A running server. `uid` is who the next connection comes from."""

    def __init__(self, kernel: RestKernel, path: Path, server: Server) -> None:
        self.kernel = kernel
        self.path = path
        self.server = server
        self.uid = ADA
        self.serial = 0
        self.accepted_count = 0

    async def connect(self, uid: int | None = None) -> Client:
        self.uid = ADA if uid is None else uid
        before = self.accepted_count
        client = await connect(self.path)
        await until(lambda: self.accepted_count > before)  # as this user
        return client

    async def get(self, target: str, uid: int | None = None) -> Response:
        return await self.request("GET", target, uid=uid)

    async def post(self, target: str, body: Any, uid: int | None = None) -> Response:
        return await self.request("POST", target, body, uid)

    async def request(
        self, method: str, target: str, body: Any = None, uid: int | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        async with await self.connect(uid) as client:
            return await client.request(method, target, body, headers)

    async def submit(self, uid: int | None = None, **request: Any) -> int:
        """A job's id. Without more words it is `/bin/true`."""
        self.serial += 1
        body = {"client_id": f"test-{self.serial}", "working_directory": "/home/ada"} | request
        if "script" not in body:
            body.setdefault("command", ["/bin/true"])
        response = await self.post("/v1/jobs", body, uid)
        assert response.status == 201, response.body
        job_id: int = response.json()["job_id"]
        return job_id


async def until(is_so: Callable[[], bool]) -> None:
    """Let other tasks run until something is so."""
    with trio.fail_after(30):
        while not is_so():
            await trio.testing.wait_all_tasks_blocked(0.001)


def context_of(kernel: RestKernel, **changes: Any) -> Context:
    listing = PluginListing("hal-x", "hal_x", "hal", "1.0", PluginStatus.LOADED, "a plugin")
    return attrs.evolve(
        Context(
            kernel=kernel,
            user_of=USERS.get,
            role_of=lambda user: ROLES.get(user, Role.USER),
            now_s=lambda: kernel.now_s,
            plugins=lambda: (listing,),
            configuration=lambda: ConfigurationView(CONFIGURATION, "/etc/hal.yaml"),
            section=CONFIGURATION.__getitem__,
            metrics=lambda: "hal_jobs 1\n",
            new_engine=FakeEngine,
            sum_receipts=kernel.sum_receipts,
            earliest_start=kernel.earliest_start,
            version="0.0.1",
            started_time_s=900.0,
            suspenders=frozenset({"metal"}),
        ),
        **changes,
    )


@asynccontextmanager
async def serving(app: AsgiApp, path: Path, limits: Limits, api: Api | None = None) -> AsyncIterator[Server]:
    """The app on a Unix socket at `path`, until the block ends."""
    server = Server(app, limits, lambda: 784111777.0)

    async def identify(stream: trio.abc.Stream) -> Peer | None:
        peer = await identify_unix_peer(stream)
        if peer is None or api is None:
            return peer
        api.accepted_count += 1
        pid, _, gid = peer.extensions["hal.peer"]
        return Peer(f"uid {api.uid}", extensions={"hal.peer": (pid, api.uid, gid)})

    if api is not None:
        api.server = server
    socket = open_unix_socket(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: server.serve([socket.listener], identify, task_status=task_status))
        yield server
        nursery.cancel_scope.cancel()
    socket.remove()


@asynccontextmanager
async def serving_api(path: Path, kernel: RestKernel | None = None, **changes: Any) -> AsyncIterator[Api]:
    """HAL's API over the kernel."""
    kernel = RestKernel() if kernel is None else kernel
    api = Api(kernel, path, None)  # type: ignore[arg-type]
    limits = changes.pop("limits", Limits(body_bytes_max=body_bytes_max))
    async with serving(build_app(context_of(kernel, **changes)), path, limits, api):
        yield api
