"""What the agent says to the spawner: frames of NUL-separated fields, and nothing cleverer.

A frame is a 4-byte length and that many bytes. Paths, arguments and environment strings cannot contain NUL, so no
escaping is needed, and the decoder that runs as root is a split. Verbs: `launch`, `cancel`, `stop`. The frames are
built by the agent (agent/orders.py). What only the job's own user needs is not decoded here (job/program.py).
"""

from __future__ import annotations

FRAME_BYTES_MAX = 16 << 20


class BadFrame(Exception):
    """The agent sent something that is no frame; the connection is closed."""


def take_frame(buffer: bytearray) -> Fields | None:
    """Remove and return the first whole frame of the buffer; None if there is none yet."""
    length = int.from_bytes(buffer[:4], "big")
    if length > FRAME_BYTES_MAX:
        raise BadFrame(f"frame of {length} bytes")
    if len(buffer) < 4 + length:
        return None
    body = bytes(buffer[4 : 4 + length])
    del buffer[: 4 + length]
    return Fields(body.split(b"\0"))


def pack(fields: list[bytes]) -> bytes:
    """One frame of fields that contain no NUL byte."""
    body = b"\0".join(fields)
    return len(body).to_bytes(4, "big") + body


class Fields:
    """Reads fields in order. Whatever is not there or is no number is a BadFrame."""

    def __init__(self, fields: list[bytes]) -> None:
        self._fields = fields
        self._at = 0

    def raw(self) -> bytes:
        return self._take(1)[0]

    def text(self) -> str:
        return self.raw().decode("utf-8", "replace")

    def integer(self) -> int:
        try:
            return int(self.raw())
        except ValueError:
            raise BadFrame("not a number") from None

    def number(self) -> float:
        try:
            return float(self.raw())
        except ValueError:
            raise BadFrame("not a number") from None

    def items(self) -> list[bytes]:
        """A count and that many fields."""
        return self._take(self.integer())

    def _take(self, count: int) -> list[bytes]:
        if not 0 <= count <= len(self._fields) - self._at:
            raise BadFrame("frame ends early")
        self._at += count
        return self._fields[self._at - count : self._at]


class Order:
    """What the supervisor must know of one attempt. A `fault` says why it cannot be launched; it is then recorded."""

    def __init__(self, fields: Fields) -> None:
        self.uid = fields.integer()
        self.gid = fields.integer()
        self.walltime_s = fields.number()
        """Infinity without a limit."""
        self.grace_s = fields.number()
        self.script = fields.raw()
        """Its text, or empty: then the job is a command."""
        program = fields.items()
        self.key = fields.text()
        self.fault = fields.text()
        self.task_count = fields.integer()
        self.cpu_quota = fields.integer()
        self.memory_bytes = fields.integer()
        self.pids_max = fields.integer()
        """Limits; 0 means none."""
        self.prolog = fields.raw()
        self.epilog = fields.raw()
        """Paths; empty for none."""
        self.hook_environment = fields.items()
        self.hook_timeout_s = fields.number()
        self.program = Fields(program + fields.items())
        """For the process that has become the user."""


def split_launch(fields: Fields) -> list[tuple[str, list[bytes]]]:
    """(key, fields of an Order) of each order in a frame whose verb has been read. Looks at nothing else."""
    programs = [fields.items() for _ in range(fields.integer())]
    orders = []
    for _ in range(fields.integer()):
        number = fields.integer()
        order = fields.items()
        if not 0 <= number < len(programs) or not order:
            raise BadFrame("order without a program, or empty")
        orders.append((order[0].decode("ascii", "replace"), programs[number] + order))
    return orders
