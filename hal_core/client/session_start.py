"""Starting a broker: a program of its own, with one end of a socket to us. What it must know goes through its stdin."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

import hal_core


def start_broker(local_worker_count: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Our end of the socket, and the process. It does not wait for the broker: what is sent waits in the socket."""
    ours, theirs = socket.socketpair()
    root = str(Path(hal_core.__file__).parents[1])
    options = {
        "session": secrets.token_hex(8),
        "local_worker_count": local_worker_count,
        "client_descriptor": theirs.fileno(),
        "import_path": [str(Path(each).absolute()) for each in sys.path],
    }
    # The path is given as a word, because PYTHONPATH would reach the programs that tasks start.
    program = "import sys; sys.path.insert(0, sys.argv[1]); from hal_core.sessions.__main__ import main; main()"
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, root, "hal-session"],
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            cwd=os.curdir,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(msgspec.json.encode(options))
    return ours, process
