"""Builds the frames that the spawner reads (launcher/fields.py). The two files are one format: change both together."""

from __future__ import annotations

from collections.abc import Sequence

from hal_core.agent.launcher.fields import FRAME_BYTES_MAX, Order, Program, pack


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
        program.directory,
        program.script,
        *_flat(program.arguments),
        *_flat(program.environment),
        b"%r" % program.walltime_s,
        b"%r" % program.grace_s,
    ]


def _order_fields(order: Order) -> list[bytes]:
    return [
        order.key.encode(),
        order.fault.encode("utf-8", "replace"),
        *_flat(order.environment),
        b"%d" % len(order.tasks),
        *(field for task in order.tasks for field in _flat(task)),
        order.input_path,
        order.output_path,
        order.error_path,
        b"%d" % order.is_appending,
        *_flat([b"%d" % cpu for cpu in order.cpus]),
        b"%d" % order.cpu_quota,
        b"%d" % order.memory_bytes,
        b"%d" % order.pids_max,
    ]
