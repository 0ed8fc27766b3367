"""The process that starts workers: a fork of the broker from before it had threads, sockets of others, or trio.

All that a worker needs is loaded here once, so the next one costs a fork: two milliseconds. For each it sends one end
of a socket to the broker, with the worker's id. When the broker ends, however it does, it ends all that is left in its
process group: the workers, and what their tasks have started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import NoReturn

from hal_core.sessions.worker import Worker

START = b"s"
"""What the broker says: one worker more."""
PID_BYTES = 4


def fork_starter(worker_count: int, client: socket.socket | None) -> socket.socket:
    """Start it with so many workers. Returns the broker's end: see `take_worker`. Only the broker keeps the client."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        if client is not None:
            client.close()
        _run(theirs, worker_count)
    theirs.close()
    return ours


def take_worker(starter: socket.socket) -> tuple[socket.socket, int] | None:
    """(connection, pid) of a worker that was started; None if the starter is gone. Non-blocking, as the socket is."""
    data, descriptors, _, _ = socket.recv_fds(starter, PID_BYTES, 1)
    if not data:
        return None
    return socket.socket(fileno=descriptors[0]), int.from_bytes(data, "big")


def _run(broker: socket.socket, worker_count: int) -> NoReturn:
    """The starter's life. Never returns into the caller's program."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client, who tells the broker.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # The kernel buries the dead: their sockets tell of their end.
    with contextlib.suppress(OSError):
        for _ in range(worker_count):
            _start_worker(broker)
        while data := broker.recv(1):
            assert data == START
            _start_worker(broker)
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _start_worker(broker: socket.socket) -> None:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        socket.send_fds(broker, [pid.to_bytes(PID_BYTES, "big")], [ours.fileno()])
        ours.close()
        return
    status = 1
    try:
        ours.close()
        broker.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # Tasks may start processes and wait for them.
        Worker(theirs).run()
        status = 0
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)
