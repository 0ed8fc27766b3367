"""What the REST room needs of the rest of HAL, as Protocols and one bundle that the composition root fills in.

Nothing here may import kernel or plugins: they are passed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import trio

from hal_core.errors import HalError
from hal_core.models.dataset import Measured
from hal_core.models.event import Event
from hal_core.models.explanation import LikelyStart
from hal_core.models.history import HistoryEntry, HistoryFilters, HistoryPage
from hal_core.models.job import JobId, JobSpec, Owner
from hal_core.models.message import Message
from hal_core.models.plugin import PluginListing
from hal_core.models.prediction import Arrival, Foretold, Prediction
from hal_core.models.receipt import RightSize
from hal_core.models.role import Role
from hal_core.models.use import JobUse
from hal_core.parsing.request import JobRequest, ParsedJob
from hal_core.rest.attendances import Attendances
from hal_core.rest.rates import Rates
from hal_core.rest.session_book import SessionBook
from hal_core.rest.tokens import TokenMaker
from hal_core.rules.bad_ends import BadEnds
from hal_core.rules.excerpt import Excerpt
from hal_core.rules.forecast import Engine
from hal_core.rules.memory_sizes import UsedMemory
from hal_core.rules.receipt_sums import Row
from hal_core.rules.state import State
from hal_core.wire.terminals import Terminals


class MemorySizing(Protocol):
    """Knows how much memory jobs used, and how they ended."""

    def sized(self, owner: Owner, specs: Sequence[JobSpec]) -> Sequence[JobSpec]:
        """The same, with the size of the first attempt where that is left to HAL."""
        ...

    def unused(self, owner: Owner, spec: JobSpec) -> UsedMemory | None:
        """What such jobs used, if this one asks for so much more that its owner should know."""
        ...

    def bad_ends(self, owner: Owner, spec: JobSpec) -> BadEnds | None:
        """How such jobs ended, if most of them did not end well."""
        ...


class Uses(Protocol):
    """Knows what running jobs use."""

    def job(self, job_id: JobId) -> JobUse | None:
        """None: nothing was measured."""
        ...

    def cpus(self) -> float | None:
        """CPUs that are busy in all jobs together; None: nothing was measured."""
        ...


class Inputs(Protocol):
    """Knows what stands at the paths and URLs that jobs name, as far as locality providers recognise them."""

    def has_store(self, spec: JobSpec) -> bool:
        """Whether copies can be kept on all nodes where the job may run."""
        ...

    def address_of(self, text: str, working_directory: str) -> str:
        """What the input is: a URL as it is, a path as an absolute one."""
        ...

    def provider(self, address: str) -> object:
        """Raises errors.NotFound if nobody recognises it."""
        ...

    async def measure(self, addresses: Sequence[str]) -> Mapping[str, Measured | HalError]:
        """What is there. What is better read where it is is left out."""
        ...


Foretell = Callable[[Arrival], Awaitable[Foretold]]
"""What the predictor would say of a job that nobody submitted."""


async def nobody_can_say(part: Excerpt, now_s: float) -> LikelyStart | None:
    """Of no job it is known when it will start."""
    return None


class JournalReader(Protocol):
    """Blocking reads of what is on disk; called in worker threads."""

    def read(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """Events with a sequence number above `after`, ascending."""
        ...

    def history(self, filters: HistoryFilters, limit: int, cursor: int | None = None) -> HistoryPage: ...

    def events_of(self, job_id: JobId, is_over: bool = False) -> Sequence[Event]:
        """All about one job, in order, after the ClusterDefined that was in force when it came.

        `is_over` saves reading what came after its last end.
        """
        ...

    def predictions_of(self, ends: Sequence[HistoryEntry]) -> Mapping[int, Prediction]:
        """What was said of the run time of each by its start, by the sequence number of the end."""
        ...


class Kernel(Protocol):
    """The running kernel."""

    @property
    def state(self) -> State:
        """The live state. May be ahead of the disk: call `settled` before an answer made from it is sent."""
        ...

    @property
    def durable_sequence(self) -> int: ...

    @property
    def journal(self) -> JournalReader: ...

    async def ask(self, message: Message) -> Any:
        """The message's answer, once its events are on disk. Raises errors.UserError or errors.Unavailable."""
        ...

    async def settled(self) -> None:
        """Wait until all that was applied when this was called is on disk. Raises errors.Unavailable if that failed."""
        ...

    async def rested(self) -> None:
        """Wait until no pass of the engine is under way: before the queue is put in order, as a pass does."""
        ...

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until an event after `sequence` is on disk."""
        ...

    def parse_job(self, request: JobRequest, owner: Owner) -> ParsedJob:
        """The request as a job spec, with warnings. Raises errors.InvalidInput with every problem."""
        ...


@attrs.frozen
class ConfigurationView:
    """What is in force: defaults applied, secrets left out. `path` is None if HAL runs without a file."""

    configuration: dict[str, Any]
    path: str | None = None


@attrs.frozen(kw_only=True)
class Context:
    """All that the handlers may use."""

    kernel: Kernel
    user_of: Callable[[int], str | None]
    """The name of a user id (the machine's user database); None: unknown, and turned away. Called in a thread."""
    role_of: Callable[[str], Role]
    """Called in a thread, too."""
    now_s: Callable[[], float]
    plugins: Callable[[], Sequence[PluginListing]]
    configuration: Callable[[], ConfigurationView]
    """All of it, with thousands of nodes perhaps: called in a thread."""
    section: Callable[[str], dict[str, Any]]
    """One section of the configuration, by name; for what a request needs to know."""
    metrics: Callable[[], str]
    new_engine: Callable[[], Engine]
    """An engine like the one that decides, for trying things out beside it."""
    version: str
    started_time_s: float
    problem: Callable[[], str] = lambda: ""
    """Why no new work is taken, or the empty string."""
    heartbeat_s: float = 15.0
    tokens: TokenMaker | None = None
    """None: nobody can call from another machine."""
    rates: Rates | None = None
    """None: nobody is kept from asking too often."""
    monotonic_s: Callable[[], float] = trio.current_time
    sum_receipts: Callable[[], Awaitable[Sequence[Row]]]
    """The receipts of all jobs that have ended, by user, account and month."""
    earliest_start: Callable[[JobId, RightSize], Awaitable[float | None]]
    """When a job could have started with that size; None: it never started."""
    foretell: Foretell | None = None
    """None: there is no predictor."""
    likely_start: Callable[[Excerpt, float], Awaitable[LikelyStart | None]] = nobody_can_say
    """Of the job that the excerpt asks about, at that time."""
    memory: MemorySizing | None = None
    """None: nobody remembers; jobs get what they ask for."""
    inputs: Inputs | None = None
    """None: nobody looks at paths and URLs before jobs run."""
    uses: Uses | None = None
    """None: nobody measures."""
    suspenders: frozenset[str] = frozenset()
    """The names of the executors that can suspend what they run."""

    def use_of(self, job_id: JobId) -> JobUse | None:
        """What the running elements of a job use, if that was measured."""
        return None if self.uses is None else self.uses.job(job_id)

    terminals: Terminals = attrs.field(factory=Terminals)
    """Of interactive jobs."""
    attendances: Attendances = attrs.field(factory=Attendances)
    sessions: SessionBook = attrs.field(default=attrs.Factory(lambda self: SessionBook(self.now_s), takes_self=True))
