"""What the load campaign asks a daemon with, and how it looks at it from outside."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import trio

from tests.support.http_client import Client


def get_alone(path: Path, target: str) -> bytes:
    """A GET on a connection of its own, from anywhere."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(path))
        stream.sendall(f"GET {target} HTTP/1.1\r\nhost: hal\r\nconnection: close\r\n\r\n".encode())
        pieces = []
        while piece := stream.recv(65_536):
            pieces.append(piece)
    return b"".join(pieces)


async def connect_as(path: Path, uid: int) -> Client:
    """A connection of another user: the daemon sees who we are at this moment. No await may come in between."""
    stream = socket.socket(socket.AF_UNIX)
    stream.setblocking(False)
    os.seteuid(uid)
    try:
        stream.connect(str(path))
    finally:
        os.seteuid(0)
    return Client(trio.SocketStream(trio.socket.from_stdlib_socket(stream)))


def memory_bytes(pid: int) -> int:
    """Of memory that is really there."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
