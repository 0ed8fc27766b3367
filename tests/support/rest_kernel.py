"""A small real kernel for tests of the REST room: the true core, and a journal that is a list (or a real one)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from hal_core.kernel.job_events import is_about
from hal_core.models.cloud_pool import CloudPool, PoolOffer
from hal_core.models.event import Event, JobRequeued
from hal_core.models.history import HistoryEntry, HistoryFilters, HistoryPage
from hal_core.models.job import End, EndKind, JobId, Owner
from hal_core.models.message import Answer, DefineCluster, Message, NodeReported, PartsChanged, PartStatus
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.placement import AttemptKey
from hal_core.models.prediction import Prediction
from hal_core.models.receipt import RightSize
from hal_core.parsing.context import ParseContext
from hal_core.parsing.request import JobRequest, ParsedJob, parse_job
from hal_core.rules.core import Core
from hal_core.rules.earliest_start import EarliestStart
from hal_core.rules.receipt_sums import ReceiptSums, Row
from hal_core.rules.state import State
from hal_core.testing.fakes import FakeEngine

NODES = tuple(
    Node(NodeName(f"n{number}"), 8, 16 << 30, gpus=("a100", "a100") if number == 1 else (), generic=(("licence", 4),))
    for number in (1, 2, 3)
)
CLUSTER = Cluster(
    "test",
    NODES,
    (
        Partition(PartitionName("main"), tuple(node.name for node in NODES), is_default=True),
        Partition(PartitionName("small"), (NodeName("n3"),)),
    ),
    pools=(CloudPool("burst", (PoolOffer("small", 0.5, 60.0, 0),), 10, cloud="static"),),
)


class ListJournal:
    """Events in memory. `first` says which is the oldest that is kept."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.first = 1

    def append(self, events: Sequence[Event]) -> int:
        self.events += events
        return len(self.events)

    def read(self, after: int, limit: int) -> list[tuple[int, Event]]:
        start = max(after, self.first - 1)
        return list(enumerate(self.events, 1))[start : start + limit]

    def history(self, filters: HistoryFilters, limit: int, cursor: int | None = None) -> HistoryPage:
        return HistoryPage((), None)

    def events_of(self, job_id: JobId, is_over: bool = False) -> list[Event]:
        return [event for event in self.events if is_about(event, job_id)]

    def predictions_of(self, ends: Sequence[HistoryEntry]) -> dict[int, Prediction]:
        return {}


class RestKernel:
    """Implements hal_core.rest.port.Kernel. Everything is durable at once, unless the disk is `held`."""

    def __init__(self, journal: ListJournal | None = None, cluster: Cluster = CLUSTER, now_s: float = 1000.0) -> None:
        self.journal = ListJournal() if journal is None else journal
        self.core = Core(FakeEngine(), "fake")
        self.now_s = now_s
        self.durable_sequence = 0
        self.is_held = False
        self.rest_count = 0
        """How often somebody waited for a pass to be over."""
        self.fails_with: Exception | None = None
        self.asked: list[Message] = []
        self.parse_count = 0
        self._moved = trio.Event()
        self._unsynced: list[Event] = []
        self.tell(DefineCluster(cluster))
        for node in cluster.nodes:
            self.tell(NodeReported(node, "boot"))
        self._context = ParseContext.of_cluster(cluster, now_s)

    @property
    def state(self) -> State:
        return self.core.state

    async def rested(self) -> None:
        self.rest_count += 1

    def tell(self, message: Message) -> Answer:
        decided = self.core.receive(message, self.now_s)
        self._add(decided.events)
        return decided.answer

    def fold(self, *events: Event) -> None:
        """What happened before, without anybody having asked for it."""
        for event in events:
            self.state.apply(event)
        self._add(events)

    def _add(self, events: Sequence[Event]) -> None:
        self._unsynced += events
        if not self.is_held:
            self.sync()

    def sync(self) -> None:
        """The disk has everything now."""
        self.is_held = False
        if self._unsynced:
            self.durable_sequence = self.journal.append(self._unsynced)
            self._unsynced = []
        self._moved.set()
        self._moved = trio.Event()

    async def ask(self, message: Message) -> Answer:
        await trio.lowlevel.checkpoint()
        if self.fails_with is not None:
            raise self.fails_with
        self.asked.append(message)
        answer = self.tell(message)
        await self.settled()
        return answer

    async def settled(self) -> None:
        sequence = self.state.sequence
        while self.durable_sequence < sequence:
            await self._moved.wait()

    async def wait_beyond(self, sequence: int) -> None:
        await trio.lowlevel.checkpoint()
        while self.durable_sequence <= sequence:
            await self._moved.wait()

    async def sum_receipts(self) -> list[Row]:
        await trio.lowlevel.checkpoint()
        sums = ReceiptSums({event.key.job_id for event in self.journal.events if isinstance(event, JobRequeued)})
        for event in self.journal.events:
            sums.apply(event)
        return sums.rows()

    async def earliest_start(self, job_id: JobId, size: RightSize) -> float | None:
        await trio.lowlevel.checkpoint()
        fold, state = EarliestStart(job_id, size), State()
        for event in self.journal.events:
            fold.before(event, state)
            state.apply(event)
        return fold.time_s

    def parse_job(self, request: JobRequest, owner: Owner) -> ParsedJob:
        self.parse_count += 1
        return parse_job(request, attrs.evolve(self._context, now_s=self.now_s))

    # -- what planes would do --------------------------------------------------------------------------------------

    def plan(self) -> None:
        """Let the engine start what fits."""
        self._add(self.core.plan(self.now_s).events)

    def start(self, job_id: int, index: int = 0) -> None:
        self._report(job_id, index, None)

    def end(self, job_id: int, index: int = 0, end: End | None = None) -> None:
        """The element ran and ended, well unless told otherwise."""
        self._report(job_id, index, End(EndKind.EXITED, exit_code=0) if end is None else end)

    def _report(self, job_id: int, index: int, end: End | None) -> None:
        activity = self.state.jobs[JobId(job_id)].active[index]
        key = AttemptKey(JobId(job_id), index, activity.attempt)
        end_time_s = None if end is None else self.now_s + 1
        status = PartStatus(key, start_time_s=self.now_s, end_time_s=end_time_s, end=end)
        self.tell(PartsChanged(activity.shares[0].node, (status,)))
