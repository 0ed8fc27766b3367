"""The Unix socket on which HAL listens, and who is at the other end of it.

The file appears by one rename, already listening and with its final mode, in a directory that nobody else can write
to. A socket file that a dead daemon left behind is replaced; one on which somebody listens is not.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import trio

from hal_core import errors
from hal_core.rest.asgi import Peer
from hal_core.wire.socket_path import NEW, check_socket_path

BACKLOG = 4096
ACCEPTED_AT_ONCE_MAX = 256


class Door(trio.abc.Listener[trio.SocketStream]):
    """Accepts connections. Whom `turn_away` has dealt with is not let in, and costs no task.

    A crowd that comes again and again stands in the same queue as the administrator behind it, so what counts is how
    fast the queue moves.
    """

    def __init__(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        self._listening = listening
        self.turn_away: Callable[[socket.socket], bool] = lambda connection: False
        """Called with a fresh connection, which must not be waited for. True: it is over, and closed."""

    async def accept(self) -> trio.SocketStream:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._listening)
            except ValueError:  # It has no number any more.
                raise trio.ClosedResourceError from None
            for _ in range(ACCEPTED_AT_ONCE_MAX):
                try:
                    connection, _ = self._listening.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    break
                connection.setblocking(False)
                if not self.turn_away(connection):
                    return trio.SocketStream(trio.socket.from_stdlib_socket(connection))

    async def aclose(self) -> None:
        if self._listening.fileno() >= 0:
            trio.lowlevel.notify_closing(self._listening)
            self._listening.close()
        await trio.lowlevel.checkpoint()


class UnixSocket:
    """A listening socket and its file; `remove` takes the file away if it is still ours."""

    def __init__(self, listener: Door, path: Path) -> None:
        self.listener = listener
        self.path = path
        self._inode = os.stat(path).st_ino

    def remove(self) -> None:
        try:
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except FileNotFoundError:
            return


def open_unix_socket(path: Path, mode: int = 0o600) -> UnixSocket:
    """Listen on `path`. Raises errors.Refused if the directory is not safe or somebody listens there already."""
    check_socket_path(path, "listen.socket")
    check_directory(path.parent)
    _check_free(path)
    new_path = path.with_name(path.name + NEW)
    new_path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(new_path))
        os.chmod(new_path, mode)
        listening.listen(BACKLOG)
        os.rename(new_path, path)
    except OSError:
        listening.close()
        raise
    return UnixSocket(Door(listening), path)


def check_directory(directory: Path, own_uid: int | None = None) -> None:
    """The directory must be ours or root's, and nobody else may write to it: a swapped socket would be believed."""
    own_uid = os.geteuid() if own_uid is None else own_uid
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        raise errors.Refused(f"the directory for the socket does not exist: {directory}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise errors.Refused(f"{directory} must be a directory, and not a symbolic link, to hold HAL's socket")
    if found.st_uid not in (0, own_uid):
        raise errors.Refused(f"{directory} belongs to user id {found.st_uid}; it must belong to {own_uid} or to root")
    if found.st_mode & 0o022:
        raise errors.Refused(f"others may write to {directory}; use `chmod go-w {directory}`")


def _check_free(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise errors.Refused(f"{path} exists and is not a socket; HAL does not replace it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return  # a dead daemon's file
        except OSError as error:
            if error.errno != errno.EAGAIN:  # EAGAIN: its backlog is full, so somebody does listen
                raise
    raise errors.Refused(f"another daemon listens on {path}; use that one, end it, or give this one another socket")


async def identify_unix_peer(stream: trio.abc.Stream, trusted_uids: Collection[int] = ()) -> Peer | None:
    """The peer's (pid, uid, gid) as the kernel recorded them at connect."""
    assert isinstance(stream, trio.SocketStream), "peer credentials exist on sockets only"
    return peer_of(stream.socket, trusted_uids)


def peer_of(connection: Any, trusted_uids: Collection[int] = ()) -> Peer | None:
    """The same of a socket, of trio or of the standard library."""
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid, uid, gid = struct.unpack("3i", packed)
    return Peer(key=f"uid {uid}", is_trusted=uid in trusted_uids, extensions={"hal.peer": (pid, uid, gid)})
