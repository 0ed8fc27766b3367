"""What the agent says to the spawner: frames of NUL-separated fields, and nothing cleverer.

A frame is a 4-byte length and that many bytes. Paths, arguments and environment strings cannot contain NUL, so no
escaping is needed, and the decoder that runs as root is a split. Verbs: `launch`, `cancel`, `stop`. The frames are
built by the agent (agent/orders.py).
"""

from __future__ import annotations

FRAME_BYTES_MAX = 16 << 20


class BadFrame(Exception):
    """The agent sent something that is no frame; the connection is closed."""


def take_frame(buffer: bytearray) -> Fields | None:
    """Remove and return the first whole frame of the buffer; None if there is none yet."""
    if len(buffer) < 4:
        return None
    length = int.from_bytes(buffer[:4], "big")
    if length > FRAME_BYTES_MAX:
        raise BadFrame(f"frame of {length} bytes")
    if len(buffer) < 4 + length:
        return None
    body = bytes(buffer[4 : 4 + length])
    del buffer[: 4 + length]
    return Fields(body.split(b"\0"))


class Fields:
    """Reads fields in order. Whatever is not there or is no number is a BadFrame."""

    __slots__ = ("_at", "_fields")

    def __init__(self, fields: list[bytes]) -> None:
        self._fields = fields
        self._at = 0

    def raw(self) -> bytes:
        if self._at >= len(self._fields):
            raise BadFrame("frame ends early")
        self._at += 1
        return self._fields[self._at - 1]

    def text(self) -> str:
        try:
            return self.raw().decode("utf-8")
        except UnicodeDecodeError:
            raise BadFrame("text is not UTF-8") from None

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
        count = self.integer()
        if not 0 <= count <= len(self._fields) - self._at:
            raise BadFrame("count larger than the frame")
        self._at += count
        return self._fields[self._at - count : self._at]


class Program:
    """What orders of the same job have in common: who, where, what, for how long. Sent once per frame."""

    __slots__ = ("arguments", "directory", "environment", "gid", "grace_s", "script", "uid", "walltime_s")

    uid: int
    gid: int
    directory: bytes
    script: bytes
    """Text of the script, or empty: then `arguments` begins with the command."""
    arguments: list[bytes]
    environment: list[bytes]
    walltime_s: float
    """Infinity without a limit."""
    grace_s: float

    @classmethod
    def read(cls, fields: Fields) -> Program:
        program = cls()
        program.uid = fields.integer()
        program.gid = fields.integer()
        program.directory = fields.raw()
        program.script = fields.raw()
        program.arguments = fields.items()
        program.environment = fields.items()
        program.walltime_s = fields.number()
        program.grace_s = fields.number()
        return program


class Order:
    """One attempt to launch. `fault`, if not empty, says why it cannot be; it is then only recorded as failed."""

    __slots__ = (
        "cpu_quota",
        "cpus",
        "environment",
        "error_path",
        "fault",
        "input_path",
        "is_appending",
        "key",
        "memory_bytes",
        "output_path",
        "pids_max",
        "program",
        "tasks",
    )

    key: str
    program: Program
    fault: str
    environment: list[bytes]
    tasks: list[list[bytes]]
    """One list of additional environment strings for each process to start."""
    input_path: bytes
    output_path: bytes
    error_path: bytes
    """Empty: joins the output."""
    is_appending: bool
    cpus: list[int]
    """To bind to; empty: not bound."""
    cpu_quota: int
    memory_bytes: int
    pids_max: int
    """Limits; 0 means none."""

    @classmethod
    def read(cls, fields: Fields, program: Program) -> Order:
        order = cls()
        order.program = program
        order.key = fields.text()
        order.fault = fields.text()
        order.environment = fields.items()
        order.tasks = [fields.items() for _ in range(fields.integer())]
        order.input_path = fields.raw()
        order.output_path = fields.raw()
        order.error_path = fields.raw()
        order.is_appending = fields.integer() != 0
        order.cpus = [int(cpu) for cpu in fields.items()]
        order.cpu_quota = fields.integer()
        order.memory_bytes = fields.integer()
        order.pids_max = fields.integer()
        return order


def split_launch(fields: Fields) -> list[tuple[str, list[bytes]]]:
    """(key, fields for the supervisor) of each order in a frame whose verb has been read. Looks at nothing else."""
    programs = [fields.items() for _ in range(fields.integer())]
    orders = []
    for _ in range(fields.integer()):
        number = fields.integer()
        order = fields.items()
        if not 0 <= number < len(programs) or not order:
            raise BadFrame("order without a program, or empty")
        orders.append((order[0].decode("ascii", "replace"), programs[number] + order))
    return orders


def read_order(fields: Fields) -> Order:
    """What the supervisor is given: the fields of a program, then those of the order."""
    return Order.read(fields, Program.read(fields))


def pack(fields: list[bytes]) -> bytes:
    """One frame of fields that contain no NUL byte."""
    body = b"\0".join(fields)
    return len(body).to_bytes(4, "big") + body
