"""Tasks for sessions: functions that workers import by name."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path


def square(number):
    return number * number


def quotient(number, divisor=1):
    return number // divisor


def die(number):
    """Ends its worker, as a fault in a C library would."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(arguments):
    """Ends its worker if the number is the fatal one."""
    number, fatal = arguments
    if number == fatal:
        die(number)
    return number


def die_once(arguments):
    """Ends its worker the first time it comes here, by a file that it leaves."""
    number, directory = arguments
    mark = Path(directory) / str(number)
    if not mark.exists():
        mark.touch()
        die(number)
    return number


def fail_at_first(arguments):
    """Raises until it was called `count` times with the number."""
    number, count, directory = arguments
    with open(Path(directory) / str(number), "a+b") as file:
        if file.tell() < count:
            file.write(b".")
            raise RuntimeError(f"try {file.tell()} of {number}")
    return number


def wait_at(address):
    """Say which process this is at a Unix socket, and stay until the other end closes it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(os.getpid().to_bytes(4, "big"))
        connection.recv(1)
    return os.getpid()


def mark(arguments):
    """Count a run of the number in a file of its own."""
    number, directory = arguments
    with open(Path(directory) / str(number), "ab") as file:
        file.write(b".")
    return number


def item_of(sequence, index):
    return sequence[index]


def last(seconds):
    """Takes so long."""
    threading.Event().wait(seconds)
    return seconds


def write_down(path, word):
    """Add a line to the file."""
    with open(path, "a") as file:
        file.write(f"{word}\n")


def environment():
    return dict(os.environ)


def command_line():
    return Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode()


def fail_on(node):
    """On that node it fails; what it returns is where it was done."""
    here = os.environ["HAL_NODE_NAME"]
    if here == node:
        raise OSError(f"the disk of {node} is broken")
    return here
