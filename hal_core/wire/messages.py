"""The verbs between daemon and agent. The agent dials and says Hello; the daemon answers Welcome or Refusal.

Every order carries the epoch of the daemon that gave it. Batches that are too large for a frame are split by
`*_frames`, which needs no help from the receiver: each part means the same by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

import attrs

from hal_core.errors import WireError
from hal_core.models.dataset import Brought, Dataset, DatasetId, MadeDataset
from hal_core.models.effect import CancelOrder, KeepOrder, LaunchOrder, SuspendOrder
from hal_core.models.job import JobSpec, Owner
from hal_core.models.message import PartStatus
from hal_core.models.node import Node, NodeName
from hal_core.models.placement import AttemptKey, Share
from hal_core.models.use import PartUse
from hal_core.wire.frames import fits

T = TypeVar("T")

PROTOCOL_VERSION: Final = 1
BATCH_COUNT_MAX: Final = 256
"""Orders in one frame: the agent starts with the first while the next frame is on its way."""


@attrs.frozen
class Hello:
    """The agent's first message. Everything it has records of follows: `part_count` parts, in Reports.

    `missing` says in plain words what this node cannot do (limits, binding, other users).
    """

    protocol: int
    node: Node
    boot_id: str
    part_count: int
    missing: tuple[str, ...] = ()
    lending_port: int = 0
    """Where other nodes can read what this node's store has; 0: nowhere."""
    lending_secret: bytes = attrs.field(default=b"", repr=False)
    """With which the daemon makes their tickets (wire/loans.py)."""


@attrs.frozen
class Welcome:
    """The daemon takes the agent. An older `epoch` than the node has served: the agent leaves."""

    protocol: int
    epoch: int
    heartbeat_s: float
    lease_s: float = 0.0
    """So long after the daemon last heard of it the node ends what may be queued again; 0: never."""
    use_s: float = 0.0
    """How often the node is to say what running attempts use; 0: never."""
    paid_s: float | None = None
    """As in Heartbeat."""


@attrs.frozen
class Refusal:
    """The daemon does not take the agent; the text is for its log. The agent tries again later."""

    text: str


@attrs.frozen
class JobPart:
    """What several orders have in common. Sent once per frame."""

    owner: Owner
    spec: JobSpec
    nodes: tuple[tuple[NodeName, int], ...]
    addresses: tuple[str, ...] = ()
    trace: str = ""
    file_names: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Launch:
    """Start these attempts. `parts` holds (key, number of the job in `jobs`, share)."""

    epoch: int
    jobs: tuple[JobPart, ...]
    parts: tuple[tuple[AttemptKey, int, Share], ...]

    def orders(self) -> Iterator[LaunchOrder]:
        for key, number, share in self.parts:
            if not 0 <= number < len(self.jobs):
                raise WireError(f"order {key} names job {number} of {len(self.jobs)}")
            job = self.jobs[number]
            more = self.epoch, job.addresses, job.trace, job.file_names
            yield LaunchOrder(key, job.owner, job.spec, share, job.nodes, *more)


@attrs.frozen
class Cancel:
    epoch: int
    orders: tuple[CancelOrder, ...]


@attrs.frozen
class Suspend:
    """Let attempts stand still or go on, in this order."""

    epoch: int
    orders: tuple[SuspendOrder, ...]


@attrs.frozen
class Forget:
    epoch: int
    keys: tuple[AttemptKey, ...]


@attrs.frozen
class Loan:
    """Another node may be asked for a dataset, at that address (host:port), with that ticket (wire/loans.py)."""

    dataset: DatasetId
    node: NodeName
    address: str
    ticket: bytes = attrs.field(repr=False)


@attrs.frozen
class Bring:
    """Bring these datasets into the node's store for an attempt, from their replicas in this order. Answer: Delivery.

    `loans` are for the replicas that are other nodes' copies.
    """

    epoch: int
    key: AttemptKey
    datasets: tuple[Dataset, ...]
    loans: tuple[Loan, ...] = ()


@attrs.frozen
class Keep:
    """What is to become of copies in the node's store. Those that it does not have are no matter."""

    epoch: int
    order: KeepOrder


@attrs.frozen
class Delivery:
    """The datasets of an attempt are here, or (`fault`, for the job's owner) cannot be brought."""

    key: AttemptKey
    brought: Brought
    fault: str = ""


@attrs.frozen
class Made:
    """What an attempt left as datasets, or (`fault`) why it did not. Said before its end is."""

    key: AttemptKey
    datasets: tuple[MadeDataset, ...] = ()
    fault: str = ""


@attrs.frozen
class Inventory:
    """All datasets that the node's store has. Said after Hello if there are any, and whenever they are others."""

    datasets: tuple[DatasetId, ...]


@attrs.frozen
class Report:
    """Parts that started or ended."""

    parts: tuple[PartStatus, ...]


@attrs.frozen
class Use:
    """What running attempts used in the last `period_s` seconds. Said only if the Welcome asks for it."""

    period_s: float
    parts: tuple[PartUse, ...]


@attrs.frozen
class Heartbeat:
    """Said by the agent when it has said nothing else for a while, and answered by the same.

    `sent_s` is the agent's own clock and comes back unread: what comes back proves that the daemon was there after it.
    """

    sent_s: float = 0.0
    paid_s: float | None = None
    """In the answer: for so long from now the node's machine is paid for, if it is a rented one."""


@attrs.frozen
class Leaving:
    """The agent's machine is taken back by its cloud in `left_s` seconds; None: it is likely to be."""

    reason: str
    left_s: float | None


@attrs.frozen
class Enrol:
    """All that a peer without a certificate may say: it asks for one. Answer: Certificate or Refusal."""

    protocol: int
    secret: str
    request: bytes


@attrs.frozen
class Renew:
    """An agent asks for its next certificate."""

    request: bytes


@attrs.frozen
class Certificate:
    """A certificate for the key of the request, as PEM."""

    pem: bytes


@attrs.frozen
class TerminalOffer:
    """Instead of Hello: this connection is that of the terminal of one job, whose process runs as `uid`.

    After the daemon's Welcome only TerminalBytes go either way, to the end of the connection.
    """

    protocol: int
    node: NodeName
    key: AttemptKey
    uid: int


@attrs.frozen
class TerminalBytes:
    """To the daemon what the job's program wrote, to the agent messages for the terminal (launcher/job/terminal.py)."""

    data: bytes


Order = Launch | Cancel | Suspend | Forget | Bring | Keep
ORDERS: Final = (Launch, Cancel, Suspend, Forget, Bring, Keep)
"""What carries an epoch."""
FROM_STRANGER: Final = (Enrol,)
FROM_AGENT: Final = (
    Hello, Report, Heartbeat, Renew, TerminalOffer, TerminalBytes, Delivery, Inventory, Made, Use, Leaving
)  # fmt: skip
FROM_DAEMON: Final = (
    Welcome, Refusal, Launch, Cancel, Suspend, Forget, Heartbeat, Certificate, TerminalBytes, Bring, Keep
)  # fmt: skip


def launch_frames(orders: Sequence[LaunchOrder]) -> Iterator[Launch]:
    """The orders (all of one epoch) as messages that fit into frames; a job is not repeated within one."""
    for batch in _batches(orders):
        jobs: dict[int, int] = {}
        common: list[JobPart] = []
        parts = []
        for order in batch:
            # Orders of one array share the spec object; the gang's nodes may still differ between its elements.
            at = jobs.get(id(order.spec))
            if at is None or not _is_same(common[at], order):
                at = jobs[id(order.spec)] = len(common)
                more = order.addresses, order.trace, order.file_names
                common.append(JobPart(order.owner, order.spec, order.nodes, *more))
            parts.append((order.key, at, order.share))
        message = Launch(batch[0].epoch, tuple(common), tuple(parts))
        if len(batch) == 1 or fits(message):
            yield message
        else:
            half = len(batch) // 2
            yield from launch_frames(batch[:half])
            yield from launch_frames(batch[half:])


def _is_same(common: JobPart, order: LaunchOrder) -> bool:
    """Whether what they have in common is that; the spec is."""
    return (common.nodes, common.owner, common.trace) == (order.nodes, order.owner, order.trace)


def report_frames(parts: Sequence[PartStatus]) -> Iterator[Report]:
    for batch in _batches(parts):
        yield Report(tuple(batch))


def cancel_frames(epoch: int, orders: Sequence[CancelOrder]) -> Iterator[Cancel]:
    for batch in _batches(orders):
        yield Cancel(epoch, tuple(batch))


def suspend_frames(epoch: int, orders: Sequence[SuspendOrder]) -> Iterator[Suspend]:
    for batch in _batches(orders):
        yield Suspend(epoch, tuple(batch))


def forget_frames(epoch: int, keys: Sequence[AttemptKey]) -> Iterator[Forget]:
    for batch in _batches(keys):
        yield Forget(epoch, tuple(batch))


def _batches(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[at : at + BATCH_COUNT_MAX] for at in range(0, len(items), BATCH_COUNT_MAX))
