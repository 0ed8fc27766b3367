"""Builds the frames that the spawner reads: launcher/fields.py, and of what only the job's user needs launcher/job.

The three files are one format: change them together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from hal_core.agent.launcher.fields import FRAME_BYTES_MAX, pack


@attrs.define
class Program:
    """What orders of the same job have in common: who, where, what, for how long. Sent once per frame."""

    uid: int
    gid: int
    directory: bytes = b"/"
    script: bytes = b""
    """Text of the script, or empty: then `arguments` begins with the command."""
    arguments: list[bytes] = attrs.Factory(list)
    environment: list[bytes] = attrs.Factory(list)
    walltime_s: float = math.inf
    grace_s: float = 0.0


@attrs.define
class Order:
    """One attempt to launch. `fault`, if not empty, says why it cannot be; it is then only recorded as failed."""

    key: str
    program: Program
    fault: str = ""
    environment: list[bytes] = attrs.Factory(list)
    tasks: list[list[bytes]] = attrs.Factory(list)
    """One list of additional environment strings for each process to start."""
    input_path: bytes = b"/dev/null"
    output_path: bytes = b"/dev/null"
    error_path: bytes = b""
    """Empty: joins the output."""
    is_appending: bool = False
    cpus: list[int] = attrs.Factory(list)
    """To bind to; empty: not bound."""
    cpu_quota: int = 0
    memory_bytes: int = 0
    pids_max: int = 0
    """Limits; 0 means none."""
    prolog: bytes = b""
    epilog: bytes = b""
    """Paths of what the site runs as root before and after; empty for none."""
    terminal_path: bytes = b""
    """Where the agent waits for the job's terminal; empty: the job has none."""
    hook_environment: list[bytes] = attrs.Factory(list)
    hook_timeout_s: float = 0.0


def launch_frame(orders: Sequence[Order]) -> bytes:
    """A frame with these orders; a Program object that several of them share is sent once."""
    numbers: dict[int, int] = {}
    programs: list[bytes] = []
    for order in orders:
        if id(order.program) not in numbers:
            numbers[id(order.program)] = len(numbers)
            programs += _flat(_program_fields(order.program))
    body = [b"launch", b"%d" % len(numbers), *programs, b"%d" % len(orders)]
    for order in orders:
        body += [b"%d" % numbers[id(order.program)], *_flat(_order_fields(order))]
    return _pack(body)


def cancel_frame(key: str, grace_s: float) -> bytes:
    return _pack([b"cancel", key.encode(), b"%r" % grace_s])


def stop_frame() -> bytes:
    """The spawner ends after its last supervisor has."""
    return _pack([b"stop"])


def _pack(fields: list[bytes]) -> bytes:
    """Raises ValueError if a field contains NUL or the frame grows too large."""
    frame = pack(fields)
    if frame.count(b"\0", 4) != len(fields) - 1:
        raise ValueError("a field contains a NUL byte")
    if len(frame) > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {len(frame)} bytes is larger than {FRAME_BYTES_MAX}")
    return frame


def _flat(values: Sequence[bytes]) -> list[bytes]:
    return [b"%d" % len(values), *values]


def _program_fields(program: Program) -> list[bytes]:
    return [
        b"%d" % program.uid,
        b"%d" % program.gid,
        b"%r" % program.walltime_s,
        b"%r" % program.grace_s,
        program.script,
        *_flat([program.directory, *_flat(program.arguments), *_flat(program.environment)]),
    ]


def _order_fields(order: Order) -> list[bytes]:
    tasks = [field for task in order.tasks for field in _flat(task)]
    paths = [order.input_path, order.output_path, order.error_path]
    own = [*_flat(order.environment), b"%d" % len(order.tasks), *tasks, *paths, b"%d" % order.is_appending]
    own += [*_flat([b"%d" % cpu for cpu in order.cpus]), order.terminal_path, order.key.encode()]
    return [
        order.key.encode(),
        order.fault.encode("utf-8", "replace"),
        b"%d" % len(order.tasks),
        b"%d" % order.cpu_quota,
        b"%d" % order.memory_bytes,
        b"%d" % order.pids_max,
        order.prolog,
        order.epilog,
        *_flat(order.hook_environment),
        b"%r" % order.hook_timeout_s,
        *_flat(own),
    ]
