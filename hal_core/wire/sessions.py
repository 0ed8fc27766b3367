"""What client, broker and workers of a session say to each other: frames of msgpack, each a tagged array.

One message carries hundreds of short tasks: a range of ids and one packed vector. Nobody on the way opens the vector.
Unlike the daemon's messages these stay within one user's own processes, and a worker must start in milliseconds: no
trio and no attrs here.
"""

from __future__ import annotations

import socket
from typing import Final

import msgspec

from hal_core.errors import WireError
from hal_core.models.ranges import Ranges
from hal_core.wire.frame_buffer import FrameBuffer, framed
from hal_core.wire.packed import Packed

PROTOCOL_VERSION: Final = 2
FRAME_BYTES_MAX: Final = 1 << 30
"""Of one's own processes: it keeps a mistake from filling the memory, and lets an array of NumPy pass."""
READ_BYTES: Final = 1 << 18


class _Said(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class Hello(_Said, frozen=True):
    """The first message of whoever connects. `role` is `client`, `worker` or `visitor` (who only asks)."""

    protocol: int
    role: str
    secret: str = ""
    name: str = ""
    """Of a worker: where it runs, for people."""
    pid: int = 0
    host: str = ""
    """Of a worker: the node that it is on; empty on the broker's own machine."""


class Welcome(_Said, frozen=True):
    """The broker takes the peer. The counts are what it has of this session already: the next numbers are free."""

    session: str
    task_count: int
    function_count: int


class Refusal(_Said, frozen=True):
    """The broker does not take the peer, or ends the session, and says why."""

    text: str
    is_replaced: bool = False
    """The session goes on with another client."""


class Define(_Said, frozen=True):
    """What `number` means in Submit and Batch: a function, by the hash of its content. Sent once to each peer."""

    number: int
    kind: str
    """`map`, `call` (an item is arguments), `command` or `pipe`: see sessions/execution.py."""
    digest: bytes
    body: bytes
    retries: int = 0
    """How often a task that failed is tried again."""
    priority: int = 0
    """Larger is earlier."""
    time_limit_s: float = 0.0
    """A task that takes longer fails; 0 for no limit."""
    tags: tuple[str, ...] = ()


class Submit(_Said, frozen=True):
    """Tasks `first` and following, one for each item. Ids have no gaps: the next Submit goes on where this one ends."""

    first: int
    function: int
    items: Packed


class Accepted(_Said, frozen=True):
    """The broker has all tasks below `stop`; of a recoverable session they are on disk."""

    stop: int


class Batch(_Said, frozen=True):
    """Tasks for a worker, to be done in this order."""

    first: int
    function: int
    items: Packed
    turn: int = 0
    """How often the worker had given tasks back, as far as the broker had heard: an older one it gave back unseen."""


class Results(_Said, frozen=True):
    """What became of the tasks `first` and following. `failed` are the places in `values` that hold an error."""

    first: int
    failed: tuple[int, ...]
    values: Packed
    busy_ns: int = 0
    """How long the worker took for them, without waiting."""


class GivenBack(_Said, frozen=True):
    """Of a worker whose task takes long: of all that it was sent it does the next `kept_count` tasks, which it has
    begun, and nothing more. What is sent from here on has the next turn."""

    kept_count: int


class Leaving(_Said, frozen=True):
    """Of a worker that was asked to go: it finishes the task that it is at, and wants nothing more."""


class Need(_Said, frozen=True):
    """Of a worker: common data by its hash. Answer: Data."""

    digest: str


class Data(_Said, frozen=True):
    """The content; empty if there is none."""

    digest: str
    body: bytes


class Dropped(_Said, frozen=True):
    """These tasks will have no result: cancelled, or set aside."""

    tasks: Ranges
    reason: str


class Cancel(_Said, frozen=True):
    """Drop these tasks as far as they wait; with `does_kill` also those that a worker is at. With a tag, only those
    that have it."""

    tasks: Ranges
    does_kill: bool = False
    tag: str = ""


class Rank(_Said, frozen=True):
    """From now on the tasks with this tag, those that wait and those that come, have this priority."""

    tag: str
    priority: int


class Adjust(_Said, frozen=True):
    """Of a visitor: so many workers at least and at most, that weight of the elastic ones among its owner's, and that
    priority of the jobs that they are; None leaves it as it is. Answer: Adjusted, or Refusal."""

    priority: int | None = None
    worker_count_min: int | None = None
    worker_count_max: int | None = None
    weight: int | None = None


class Adjusted(_Said, frozen=True):
    """What is so now."""

    text: str


class Blocked(_Said, frozen=True):
    """In a journal only: this host gets no tasks, and why; or it does again, if that is empty."""

    host: str
    why: str


class Want(_Said, frozen=True):
    """To a recoverable session, after Welcome: tell what becomes of these tasks, and became of them before."""

    tasks: Ranges


class Finish(_Said, frozen=True):
    """No more tasks come. The broker ends when all are done and told (`drain`), or at once."""

    does_drain: bool


class Ask(_Said, frozen=True):
    """How is the session? Answer: Figures, with the same `number`."""

    number: int = 0


class TagFigures(msgspec.Struct, frozen=True, array_like=True):
    """Counts of the tasks with one tag; `left_count` wait or run."""

    left_count: int = 0
    done_count: int = 0
    failed_count: int = 0
    dropped_count: int = 0


class HostFigures(msgspec.Struct, frozen=True, array_like=True):
    """What a session knows of one node; counts are since it was last as good as new."""

    name: str
    worker_count: int = 0
    done_count: int = 0
    failed_count: int = 0
    blocked_why: str = ""
    """Empty while it gets tasks as any other."""
    is_on_probation: bool = False
    """Blocked, and given a few tasks to see whether it is well again."""


class Figures(_Said, frozen=True):
    """A session at a glance. Counts of tasks; `lost_count` is how often a task ran again after its worker died. The
    client has it unasked when there is another `trouble`."""

    session: str
    worker_count: int
    waiting_count: int
    running_count: int
    done_count: int
    failed_count: int
    dropped_count: int
    retried_count: int
    lost_count: int
    rate_per_s: float
    """Tasks settled lately."""
    tags: dict[str, TagFigures] = {}
    hosts: tuple[HostFigures, ...] = ()
    trouble: str = ""
    """Why it has no workers yet, as a predicate; empty if there is no such reason."""
    number: int = 0
    """Of the question, from 1; 0 for what nobody asked."""
    server: str = ""
    """The daemon that has the jobs of its workers; empty if they are processes of one machine."""
    job_ids: tuple[int, ...] = ()
    """All that it has had."""
    worker_count_min: int = 0
    """So many it has in any case, as jobs of a daemon,"""
    worker_count_max: int = 0
    """and so many at most, when there is room."""
    weight: int = 0
    """Of the elastic ones among its owner's; 0 if there are none."""


Said = (
    Hello
    | Welcome
    | Refusal
    | Define
    | Submit
    | Accepted
    | Batch
    | Results
    | GivenBack
    | Leaving
    | Need
    | Data
    | Dropped
    | Cancel
    | Rank
    | Adjust
    | Adjusted
    | Blocked
    | Want
    | Finish
    | Ask
    | Figures
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)


def encode(message: Said) -> bytes:
    """One frame. Raises WireError if it is larger than a peer may take."""
    body = _ENCODER.encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise WireError(f"a {type(message).__name__} of {len(body)} bytes; at most {FRAME_BYTES_MAX}")
    return framed(body)


def decode(body: bytes) -> Said:
    """The inverse, without the length. Raises what msgspec raises."""
    return _DECODER.decode(body)


class Inbox:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = FrameBuffer(FRAME_BYTES_MAX)

    def feed(self, data: bytes) -> list[Said]:
        """Raises WireError for what is no message."""
        try:
            return [decode(frame) for frame in self._buffer.feed(data)]
        except (msgspec.MsgspecError, ValueError) as error:
            raise WireError(f"a message that does not decode: {error}") from None


def receive(connection: socket.socket, inbox: Inbox) -> list[Said] | None:
    """Wait for the next messages on a blocking socket. None at its end, however it comes."""
    while True:
        try:
            data = connection.recv(READ_BYTES)
        except OSError:
            return None
        if not data:
            return None
        if messages := inbox.feed(data):
            return messages
