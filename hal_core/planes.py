"""The planes: small Protocols that plugins implement. Nothing to inherit; each has a fake and a check to pass.

Hooks only register factories (hookspecs.py); the kernel then calls these objects directly, in batches.
Engines and predictors are pure and synchronous; the other planes are trio-async.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

import attrs
import trio

from hal_core.errors import HalError
from hal_core.models.dataset import Brought, Dataset, Measured
from hal_core.models.effect import CancelOrder, KeepOrder, LaunchOrder, SuspendOrder
from hal_core.models.event import Event
from hal_core.models.foreign import Look
from hal_core.models.job import JobId
from hal_core.models.message import Message
from hal_core.models.node import Node, NodeName
from hal_core.models.notice import Notice
from hal_core.models.placement import AttemptKey
from hal_core.models.plan import Plan, Snapshot
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.models.standing import Standing
from hal_core.models.use import PartUse

Options = Mapping[str, Any]
"""A plugin's own section of the YAML, already checked against the schema that the plugin registered."""

Report = Callable[[Message], Awaitable[None]]
"""How a plane sends an observation into the kernel's inbox. Waits while the inbox is full."""

TellUse = Callable[[NodeName, float, Sequence[PartUse]], None]
"""How an executor tells what running attempts of a node used in the last so many seconds. Returns at once. One that can
has an attribute `tell_use`, which the daemon fills in."""


class Engine(Protocol):
    """The scheduling engine: a pure function of the snapshot. No clock, no randomness, no input or output."""

    def plan(self, snapshot: Snapshot) -> Plan:
        """Propose starts and promises. Must return in bounded time for any queue length."""
        ...


class Predictor(Protocol):
    """Learns run times from finished jobs. Its quantiles are used for planning, never for killing."""

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        """One answer for each, in order; None where it knows nothing. Jobs come once when they come in, and again
        whenever `learn` has named them."""
        ...

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        """In the order of the ends. Returns jobs that it was asked about and would now answer differently."""
        ...


@runtime_checkable
class Foreteller(Protocol):
    """A predictor that can also be asked about a job that nobody has submitted."""

    def foretell(self, job: Arrival) -> Prediction | None:
        """What it would say of the job if it came now; None if it knows nothing. Changes nothing."""
        ...


class Executor(Protocol):
    """Runs attempts on nodes. All orders are idempotent by key; a repeated launch reports what is already known."""

    async def run(self, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled. Reports NodeReported, NodeSilent, NodeLost and PartsChanged. Calls
        `task_status.started()` when orders can be taken."""
        ...

    async def launch(self, node: NodeName, orders: Sequence[LaunchOrder]) -> None:
        """Order launches. Returns when the order is sent, or silently drops it if the node is out of contact:
        the kernel orders again when the node reports."""
        ...

    async def cancel(self, node: NodeName, orders: Sequence[CancelOrder]) -> None:
        """Order ends. What the node does not know will never begin there, and is reported as ended."""
        ...

    async def forget(self, node: NodeName, keys: Sequence[AttemptKey]) -> None:
        """The journal holds these ends; records may be removed."""
        ...


@runtime_checkable
class StoreExecutor(Protocol):
    """An executor whose nodes have stores for datasets. It reports CopiesReported whenever what is in one changes."""

    async def bring(self, node: NodeName, key: AttemptKey, datasets: Sequence[Dataset]) -> Brought:
        """Make the datasets readable on the node, until the attempt is forgotten there. Repeated, it is the same.

        Raises UserError with a text for the job's owner, or Unavailable if the node is out of contact: then it is
        ordered again when the node reports.
        """
        ...

    async def keep(self, node: NodeName, order: KeepOrder) -> None:
        """Pin, unpin or drop copies. Lost if the node is out of contact."""
        ...


@runtime_checkable
class SuspendExecutor(Protocol):
    """An executor that can let attempts stand still: what `preempt_mode: suspend` needs."""

    async def suspend(self, node: NodeName, orders: Sequence[SuspendOrder]) -> None:
        """Order that attempts stand still, or go on; of several orders for one the last counts, and one that is
        repeated changes nothing. The time limit stands still as well. Carried out before any launch that is ordered
        later. Lost if the node is out of contact: it is ordered again when the node reports."""
        ...


@runtime_checkable
class LeaseExecutor(Protocol):
    """An executor whose nodes may be on rented machines, which end by themselves when nobody pays for them any more."""

    def extend(self, node: NodeName, left_s: float) -> None:
        """The node's machine is paid for so many seconds from now; infinity: nothing is known of it any more.

        Kept, and told to the node again and again, until the next word. The latest counts, also if it is a shorter one.
        """
        ...


@runtime_checkable
class NoticeSource(Protocol):
    """Asked on a rented machine whether its cloud takes it back."""

    async def look(self) -> Notice | None:
        """What is said now. Raises HalError or OSError if nobody answers; it is asked again soon."""
        ...


class ForeignScheduler(Protocol):
    """Another scheduler that is followed: looked at again and again, and never asked to do anything."""

    async def look(self) -> Look:
        """Its nodes and all jobs that it knows, whoever they belong to. Raises HalError if it does not answer: it is
        looked at again later."""
        ...


@attrs.frozen
class Replica:
    """One complete copy of a dataset. `node` None: visible from every node (shared file system); an empty name: the
    origin, which no job reads and from which copies are made."""

    dataset: str
    path: str
    size_bytes: int
    node: NodeName | None = None


class LocalityProvider(Protocol):
    """Knows where data is and brings it elsewhere. Raises errors.UserError with a text for the job's owner."""

    def recognises(self, dataset: str) -> bool:
        """Whether this provider is the one for that name, path or URL."""
        ...

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        """One answer for each, in order: the whole copies that there are, also those of earlier daemons. Changes
        nothing."""
        ...

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        """Make the dataset readable on the nodes: whole, or not at all, also if it is cancelled. Returns bytes moved by
        this call (0: it was there, or came with another)."""
        ...

    async def evict(self, dataset: str, node: NodeName) -> None:
        """Remove the copy on the node, if there is one. Refused where that is the original."""
        ...

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        """(seconds, money) that staging the replica to the node is expected to take."""
        ...


@runtime_checkable
class DataSource(Protocol):
    """A locality provider that also gives the bytes: each node's store reads them, keeps, checks and shares them.

    Such a provider moves nothing itself: its `stage` only makes sure that the dataset is there, and returns 0. It is
    made on the nodes too, from the same options, and must not need anything of the daemon there.
    """

    def reading(self, address: str, offset: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of the file at that address from `offset` to its end, in pieces of at most some MiB.

        Past the end there are none. Raises errors.UserError, naming the address, if asking again would not help: no
        such file, no right to it. OSError says that another try may succeed: it goes on where this one broke off. The
        one who reads knows how much there should be, and its digest; the source need not.
        """
        ...


@runtime_checkable
class Measuring(Protocol):
    """A locality provider that says what a file is before anybody reads it: jobs may call such a file by its address,
    and nodes keep copies of it, as of any dataset."""

    async def measure(self, addresses: Sequence[str]) -> Sequence[Measured | HalError | None]:
        """One answer for each, in order. None: jobs had better read it where it is, because it is near to all nodes, or
        not for everybody's eyes, or nothing tells it from what may stand there later."""
        ...


class Observer(Protocol):
    """Reads the event log. One that raises or is late is switched off, and that is an event."""

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        """A batch, in order, already durable. Must return within a second."""
        ...


@runtime_checkable
class StandingObserver(Protocol):
    """An observer that is also told what there was before its first batch: a restarted daemon did not see it begin."""

    def begin(self, standing: Standing) -> None:
        """Called once, before any `record`."""
        ...


class EventLog(Protocol):
    """The log for those who read it at their own pace. Each keeps its place on disk, under a name of its own."""

    async def place(self, reader: str) -> int:
        """The number of the last event that this reader has dealt with; one that is new begins with what comes."""
        ...

    async def keep(self, reader: str, sequence: int) -> None:
        """The reader has dealt with all events as far as this one. On disk when this returns."""
        ...

    async def read(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """Durable events after that number, in order, with their numbers. Waits until there is one."""
        ...

    async def history(self, job_id: JobId, last: int) -> Sequence[Event]:
        """What happened to one job as far as that event, in order, from its submission on."""
        ...

    async def arrival(self, job_id: JobId) -> Arrival | None:
        """The job as it was submitted, also long after it has ended."""
        ...


@runtime_checkable
class ReadingObserver(Protocol):
    """An observer that reads the log itself, so that it misses nothing while HAL, or whom it tells, is away."""

    async def read_log(self, log: EventLog) -> None:
        """Until cancelled. May take all the time it needs; one that raises is switched off."""
        ...


@runtime_checkable
class JobMailer(Protocol):
    """An observer that mails owners of jobs what their `--mail-type` asks for."""

    @property
    def mail_domain(self) -> str:
        """Where users of the site have their addresses; empty if that is not known."""
        ...


@attrs.frozen
class Offer:
    """A kind of node that a provider can supply. `price_per_hour` is in the cluster's currency."""

    name: str
    node: Node
    price_per_hour: float
    count_max: int
    boot_s: float


@attrs.frozen
class Instance:
    """A node supplied by a provider, identified by `native_id` at the provider and `node` in HAL."""

    native_id: str
    offer: str
    node: NodeName
    is_ready: bool


class CloudProvider(Protocol):
    """Supplies nodes that cost money. Every call may fail at any point, and may be repeated.

    Unavailable: ask again after `retry_after_s`. PluginError: the same, but a person should look.
    """

    async def offers(self) -> Sequence[Offer]: ...

    async def provision(self, offer: str, count: int, token: str) -> Sequence[Instance]:
        """Bring in machines; those of this token, when it is repeated. Fewer than `count`: there were no more.

        UserError and NoCapacity: none was made. Any other error: some may have been, so the token must be repeated.
        """
        ...

    async def release(self, native_ids: Sequence[str]) -> None:
        """End these. What is gone, or was never this provider's, is left as it is."""
        ...

    async def instances(self) -> Sequence[Instance]:
        """All that exist now. "The list lost all my nodes" is an error (errors.PluginError), never a fact."""
        ...
