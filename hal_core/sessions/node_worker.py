"""A worker that HAL started on a node. It dials the broker, and when it loses it, for a while its successor."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from hal_core.client.session_directory import connect
from hal_core.sessions.orders import VARIABLE, WorkerOrder
from hal_core.sessions.worker import Worker

PATIENCE_S: Final = 20.0
PAUSE_S: Final = 0.2
CONNECT_S_MAX: Final = 10.0


def main() -> None:
    order = msgspec.json.decode(os.environ.pop(VARIABLE), type=WorkerOrder)  # Tasks and their programs get no secret.
    sys.path[:] = order.import_path
    signal.signal(signal.SIGTERM, leave)
    name = "_".join(os.environ.get(each, "0") for each in ("HAL_JOB_ID", "HAL_ARRAY_INDEX", "HAL_ATTEMPT"))
    lost_time_s = time.monotonic()
    while time.monotonic() - lost_time_s < PATIENCE_S:
        connection = dial(order)
        if connection is not None:
            with connection:
                if Worker(connection).run(order.secret, name):
                    return
            lost_time_s = time.monotonic()
        time.sleep(PAUSE_S)
    sys.exit(f"no broker of the session at {order.host}:{order.port} for {PATIENCE_S:g} s")


def dial(order: WorkerOrder) -> socket.socket | None:
    """By the session's directory if that leads somewhere, else over TLS."""
    if Path(order.directory).is_dir() and (near := connect(Path(order.directory))) is not None:
        return near
    if not order.port:
        return None
    from hal_core.wire.tls import DAEMON_NAME, enrolment_context

    try:
        far = socket.create_connection((order.host, order.port), CONNECT_S_MAX)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = enrolment_context(order.authority_pem).wrap_socket(far, server_hostname=DAEMON_NAME)
        secured.settimeout(None)
    except OSError:
        return None
    return secured


def leave(number: int, _: object) -> None:
    """HAL wants its node back: the broker notices, and gives the tasks to others."""
    os._exit(128 + number)


if __name__ == "__main__":
    main()
