"""The broker as a program. It forks its starter first, while it is small and alone, and loads trio after that."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hal_core.client.session_directory import JOURNAL, LOG, listen
from hal_core.errors import Refused
from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.starter import fork_starter
from hal_core.sessions.tracing import SessionSpan

if TYPE_CHECKING:
    from hal_core.wire.sessions import Figures


def main() -> None:
    try:
        options = msgspec.json.decode(sys.stdin.buffer.read(), type=BrokerOptions)
    except msgspec.DecodeError:
        return  # Whoever started us died before it had said all.
    sys.path[:] = options.import_path
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client, who tells us.
    client = None
    if options.client_descriptor >= 0:
        client = socket.socket(fileno=options.client_descriptor)
        client.set_inheritable(False)
    if options.is_recoverable:
        keep_output(Path(options.directory) / LOG)
    span = SessionSpan.begin(options.session, os.environ)
    starter = fork_starter(options.local_worker_count, client)
    import trio

    from hal_core.sessions.broker import Broker
    from hal_core.sessions.journal import SessionJournal

    journal = listener = None
    try:
        if options.is_recoverable:
            journal = SessionJournal(Path(options.directory) / JOURNAL)
    except Refused:
        return  # Another one has been started for the same session: whoever started us will find it.
    if options.directory:
        listener = listen(Path(options.directory))
    nodes = None
    if options.node_worker_count or options.elastic_worker_count:
        from hal_core.sessions.node_workers import NodeWorkers

        nodes = NodeWorkers(options)
    gc.freeze()
    broker = Broker(options, starter, journal, nodes)
    if nodes is not None:
        nodes.figures = broker.figures

    async def run() -> Figures:
        await broker.run(client, listener)
        return broker.figures()

    figures = trio.run(run)
    if span is not None:
        span.end(figures)


def keep_output(path: Path) -> None:
    """What tasks print goes to a file: the terminal may be gone before they are."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(file, standard)
    os.close(file)


if __name__ == "__main__":
    main()
