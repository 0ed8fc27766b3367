"""Who a caller is comes from the kernel alone: real processes, real sockets, real users."""

from __future__ import annotations

import os
import pwd
import socket
import tempfile
from pathlib import Path

import attrs
import pytest
import trio

from hal_core.models.job import JobId
from hal_core.models.role import Role
from hal_core.rest.app import body_bytes_max, build_app
from hal_core.rest.asgi import Limits
from tests.support.http_client import Client, connect
from tests.support.needs import need
from tests.support.rest_api import context_of, serving
from tests.support.rest_kernel import RestKernel


def user_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


async def test_the_peer_of_the_socket_is_the_caller(tmp_path: Path) -> None:
    context = attrs.evolve(context_of(RestKernel()), user_of=user_of, role_of=lambda user: Role.USER)
    async with serving(build_app(context), tmp_path / "s", Limits()), await connect(tmp_path / "s") as client:
        caller = (await client.request("GET", "/v1/status")).json()["caller"]
    assert caller == {"user": user_of(os.geteuid()), "uid": os.geteuid(), "role": "user"}


def connect_as(path: Path, user: pwd.struct_passwd) -> socket.socket:
    """A connection that another user made: the kernel records the effective ids at the moment of the connect."""
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        connecting.connect(os.fspath(path))
    except OSError:
        connecting.close()
        raise
    finally:
        os.seteuid(0)
        os.setegid(0)
    return connecting


async def test_another_user_is_another_caller_whatever_the_body_says() -> None:
    need("" if os.geteuid() == 0 else "needs root, to connect as another user")
    nobody = pwd.getpwnam("nobody")
    kernel = RestKernel()
    context = attrs.evolve(context_of(kernel), user_of=user_of, role_of=lambda user: Role.USER)
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = Path(directory) / "s"
        async with serving(build_app(context), path, Limits(body_bytes_max=body_bytes_max)):
            with pytest.raises(PermissionError):
                connect_as(path, nobody)
            os.chmod(path, 0o666)
            theirs = trio.SocketStream(trio.socket.from_stdlib_socket(connect_as(path, nobody)))
            async with Client(theirs) as client, await connect(path) as ours:
                assert (await client.request("GET", "/v1/status")).json()["caller"]["user"] == "nobody"
                job = {"client_id": "c", "command": ["x"]}
                for field, value in (("uid", 0), ("user", "root"), ("as_user", "root")):
                    assert (await client.request("POST", "/v1/jobs", job | {field: value})).status == 422
                assert (await client.request("POST", "/v1/jobs", job)).status == 201
                assert (await ours.request("POST", "/v1/jobs", job)).json()["job_id"] == 2
    owner = kernel.state.jobs[JobId(1)].owner
    assert (owner.user, owner.uid, owner.gid) == ("nobody", nobody.pw_uid, nobody.pw_gid)


@pytest.mark.parametrize("path", ["/v1/status", "/v1/jobs", "/v1/jobs/1", "/v1/events", "/metrics", "/v1/openapi.json"])
async def test_without_credentials_there_is_no_way_in(path: str) -> None:
    """A server that says nothing about the peer (a misconfigured one) opens nothing."""
    sent: list = []

    async def send(message: dict) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"x"), (b"authorization", b"Basic cm9vdDpyb290")],
        "extensions": {},
    }
    await build_app(context_of(RestKernel()))(scope, receive, send)
    assert sent[0]["status"] == 401
