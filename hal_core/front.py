"""The REST side of the daemon, put together: listeners, limits, tokens and rates as the configuration wants them.

A composition root like `daemon.py`, and a part of it. It decides nothing about a request.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import attrs
import trio

from hal_core.config.configuration import Configuration
from hal_core.errors import Refused
from hal_core.models.role import Role
from hal_core.rest.app import body_bytes_max, build_app
from hal_core.rest.asgi import Limits
from hal_core.rest.listener import Server, turn_away
from hal_core.rest.network import NetworkAddress, NetworkListener, open_network
from hal_core.rest.port import Context
from hal_core.rest.rates import Rate, Rates
from hal_core.rest.session_watch import watch_sessions
from hal_core.rest.tokens import TokenMaker, load_key
from hal_core.rest.unix_socket import UnixSocket, identify_unix_peer, open_unix_socket, peer_of


class Front:
    """Where the daemon can be called. What cannot be opened safely raises Refused before anybody is answered."""

    def __init__(self, configuration: Configuration, context: Context) -> None:
        self._configuration = configuration
        self._context = context
        limits = configuration.limits
        rates = Rates(
            reads=Rate(limits.reads_burst, limits.reads_per_s),
            changes=Rate(limits.changes_burst, limits.changes_per_s),
        )
        app = build_app(attrs.evolve(context, tokens=self._tokens(), rates=rates))
        bounds = Limits(body_bytes_max=body_bytes_max, connections_max=limits.connections_max)
        self._server = Server(app, bounds, time.time)
        self._socket: UnixSocket | None = None
        self._network: NetworkListener | None = None

    async def open(self, stack: AsyncExitStack) -> None:
        """Listen; nobody is answered before `serve`. `stack` closes what was opened."""
        listen = self._configuration.listen
        self._socket = self._open_socket()
        stack.callback(self._socket.remove)
        if listen.address:
            wanted = NetworkAddress(listen.address, listen.certificate, listen.key, listen.hosts)
            self._network = await open_network(wanted)
            stack.push_async_callback(self._network.listener.aclose)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started when the first request can be answered."""
        assert self._socket is not None, "nothing is open yet"
        trusted = trusted_uids(self._configuration)
        identify = partial(identify_unix_peer, trusted_uids=trusted)

        def turned_away(connection: socket.socket) -> bool:
            peer = peer_of(connection, trusted)
            if peer is None or self._server.has_room(peer):
                return False
            turn_away(connection)
            return True

        self._socket.listener.turn_away = turned_away
        async with trio.open_nursery() as nursery:
            if self._network is not None:
                await nursery.start(self._server.serve, [self._network.listener], self._network.identify)
            await nursery.start(self._server.serve, [self._socket.listener], identify)
            nursery.start_soon(self._context.attendances.run, self._context.kernel)
            nursery.start_soon(watch_sessions, self._context.kernel, self._context.sessions)
            task_status.started()

    def _tokens(self) -> TokenMaker | None:
        settings = self._configuration
        if not settings.listen.address:
            return None
        key = load_key(Path(settings.state_directory), secrets.token_bytes)
        return TokenMaker(key, settings.cluster.name, settings.listen.token_lifetime_max, secrets.token_bytes)

    def _open_socket(self) -> UnixSocket:
        listen = self._configuration.listen
        group_id = _group_id(listen.group) if listen.group else -1
        socket = open_unix_socket(Path(listen.socket), listen.mode)
        if listen.group:
            try:
                os.chown(listen.socket, -1, group_id)
            except OSError as error:
                socket.remove()
                raise Refused(f"{listen.socket} cannot be given to group {listen.group}: {error.strerror}") from None
        return socket


def trusted_uids(configuration: Configuration, uid_of: Callable[[str], int | None] | None = None) -> frozenset[int]:
    """Root, the daemon's own user, and everybody whom the configuration names as operator or administrator."""
    find = _uid_of if uid_of is None else uid_of
    named = [find(user) for user, role in configuration.users.items() if role is not Role.USER]
    return frozenset({0, os.geteuid(), *(uid for uid in named if uid is not None)})


def _uid_of(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def _group_id(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise Refused(f"listen.group: there is no group {group!r} on this machine") from None
