"""The broker as a program. It forks its starter first, while it is small and alone, and loads trio after that."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

import msgspec

from hal_core.sessions.options import BrokerOptions
from hal_core.sessions.starter import fork_starter


def main() -> None:
    options = msgspec.json.decode(sys.stdin.buffer.read(), type=BrokerOptions)
    sys.path[:] = options.import_path
    client = socket.socket(fileno=options.client_descriptor)
    client.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the client, who tells us.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    starter = fork_starter(options.local_worker_count, client)
    import trio

    from hal_core.sessions.broker import Broker

    gc.freeze()
    trio.run(Broker(options, starter).run, client)


if __name__ == "__main__":
    main()
