"""A worker that HAL started on a node: a small process that keeps one worker, its child, and starts the next when a
task has ended it. The child dials the broker, and when it loses it, for a while its successor.

SIGTERM is HAL's word that it wants the node back: the worker finishes the task that it is at, says so, and goes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from hal_core.client.session_directory import connect
from hal_core.client.session_start import ORDER_VARIABLE
from hal_core.sessions.orders import WorkerOrder
from hal_core.sessions.worker import Worker

PATIENCE_S: Final = 20.0
PAUSE_S: Final = 0.2
CONNECT_S_MAX: Final = 10.0
OVER, LEFT, NO_BROKER = 0, 100, 101
"""Exit codes of the child."""
NAMING: Final = ("HAL_JOB_ID", "HAL_ARRAY_INDEX", "HAL_ATTEMPT", "HAL_TASK_RANK")
"""No two workers have all of these in common."""
SHORT_LIFE_S: Final = 5.0
SHORT_LIVES_MAX: Final = 16
"""So many children in a row that die young: something is wrong with all of them."""


def main() -> None:
    order = msgspec.json.decode(
        os.environ.pop(ORDER_VARIABLE), type=WorkerOrder
    )  # Tasks and their programs get no secret.
    sys.path[:] = order.import_path
    keeper = Keeper()
    signal.signal(signal.SIGTERM, keeper.pass_on)
    while keeper.short_lives < SHORT_LIVES_MAX:
        match keeper.keep(order):
            case 0:
                return
            case code if keeper.is_leaving:
                sys.exit(128 + signal.SIGTERM if code == LEFT else code)
            case code if code == NO_BROKER:
                sys.exit(f"no broker of the session at {order.host}:{order.port} for {PATIENCE_S:g} s")
    sys.exit(f"{keeper.short_lives} workers in a row died within {SHORT_LIFE_S:g} s of their start")


class Keeper:
    """The parent."""

    def __init__(self) -> None:
        self.is_leaving = False
        self.short_lives = 0
        self._child = 0

    def keep(self, order: WorkerOrder) -> int:
        """One child, to its end. Returns its exit code, negative for a signal."""
        begin_s = time.monotonic()
        ours, theirs = os.pipe()
        self._child = os.fork()
        if not self._child:
            os.close(theirs)
            work(order, ours)
        os.close(ours)
        if self.is_leaving:  # Told between the last child and this one.
            os.kill(self._child, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        os.close(theirs)
        is_short = code != OVER and time.monotonic() - begin_s < SHORT_LIFE_S
        self.short_lives = self.short_lives + 1 if is_short else 0
        return code

    def pass_on(self, number: int, _: object) -> None:
        self.is_leaving = True
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, number)


def work(order: WorkerOrder, parent: int) -> NoReturn:
    """The child's life. `parent` is a pipe that ends with the parent, whatever ends it."""
    asked, asking = os.pipe()
    os.set_blocking(asking, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(asking, warn_on_full_buffer=False)  # It is heard even while a task is deep in a C library.
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    leaver = Leaver(asked)
    leaver.start()
    name = "_".join(os.environ.get(each, "0") for each in NAMING)
    host = os.environ.get("HAL_NODE_NAME", "")
    lost_time_s = time.monotonic()
    while time.monotonic() - lost_time_s < PATIENCE_S and not leaver.is_leaving:
        connection = dial(order)
        if connection is not None:
            with connection:
                worker = Worker(connection)
                if leaver.may_work(worker) and worker.run(order.secret, name, host):
                    os._exit(OVER)
            lost_time_s = time.monotonic()
        if not leaver.is_leaving:
            time.sleep(PAUSE_S)
    os._exit(LEFT if leaver.is_leaving else NO_BROKER)


class Leaver(threading.Thread):
    """Waits for SIGTERM beside the worker."""

    def __init__(self, asked: int) -> None:
        super().__init__(daemon=True)
        self.is_leaving = False
        self._asked = asked
        self._worker: Worker | None = None

    def may_work(self, worker: Worker) -> bool:
        """Whether nobody wants us to leave; from then on the worker is told."""
        worker.can_leave = True
        self._worker = worker
        return not self.is_leaving

    def run(self) -> None:
        while signal.SIGTERM not in os.read(self._asked, 64):
            pass
        self.is_leaving = True
        if self._worker is not None:
            self._worker.leave()


def end_with(parent: int) -> None:
    os.read(parent, 1)
    os._exit(1)


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


if __name__ == "__main__":
    main()
