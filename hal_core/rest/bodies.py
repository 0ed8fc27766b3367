"""What may be sent and what is answered, as attrs classes: the OpenAPI document is made from these.

Views of jobs and nodes are in `hal_core/rules`; history and plugins in `hal_core/models`.
"""

from __future__ import annotations

from typing import Annotated, Any

import attrs
from msgspec import Meta

from hal_core.errors import Problem
from hal_core.models.history import HistoryEntry
from hal_core.models.plugin import PluginListing
from hal_core.models.receipt import ReceiptSum
from hal_core.parsing.request import JobRequest
from hal_core.parsing.values import ELASTIC_WEIGHT_MAX
from hal_core.rules.limit_view import LimitView
from hal_core.rules.node_view import NodeView
from hal_core.rules.share_view import ShareView
from hal_core.rules.views import ElementView, JobView

BULK_MAX = 10_000
PRIORITY_MAX = 1_000_000


@attrs.frozen
class BulkRequest:
    """Many jobs, all or none. Each of `jobs` may leave out what `common` says."""

    jobs: Annotated[tuple[JobRequest, ...], Meta(min_length=1, max_length=BULK_MAX)]
    common: JobRequest = attrs.field(factory=JobRequest)


@attrs.frozen
class SelectionRequest:
    """Which elements of an array; None: the whole job."""

    indices: Annotated[str, Meta(min_length=1, max_length=65_536)] | None = None


@attrs.frozen
class PriorityRequest:
    priority: Annotated[int, Meta(ge=-PRIORITY_MAX, le=PRIORITY_MAX)]


@attrs.frozen
class WeightRequest:
    weight: Annotated[int, Meta(ge=1, le=ELASTIC_WEIGHT_MAX)]


@attrs.frozen
class DrainRequest:
    reason: Annotated[str, Meta(min_length=1, max_length=1024)]


@attrs.frozen
class EmptyRequest:
    """`{}`"""


@attrs.frozen
class LimitsAnswer:
    limits: list[LimitView]
    sequence: int


@attrs.frozen
class SharesAnswer:
    shares: list[ShareView]
    sequence: int


@attrs.frozen
class TokenRequest:
    """`lifetime`: such as `10m`; None is as long as the site allows."""

    lifetime: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


@attrs.frozen
class TokenAnswer:
    """`nonce` is the token's name in the daemon's log."""

    token: str = attrs.field(repr=False)
    user: str
    end_time_s: float
    nonce: str


@attrs.frozen
class SubmitAnswer:
    job_id: int
    warnings: tuple[Problem, ...]


@attrs.frozen
class BulkAnswer:
    """`job_ids`: in the order of the entries; a run of consecutive ids is `first-last`."""

    job_ids: str
    count: int
    warnings: list[Problem]


@attrs.frozen
class JobsPage:
    jobs: list[JobView]
    next_cursor: str | None
    counts: dict[str, int]
    sequence: int


@attrs.frozen
class ElementsPage:
    job_id: int
    elements: list[ElementView]
    next_cursor: str | None
    sequence: int


@attrs.frozen
class TerminalRequest:
    """What was typed, in base64, and the size of the window if it is known."""

    data: Annotated[str, Meta(max_length=65_536)] = ""
    rows: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    columns: Annotated[int, Meta(ge=1, le=10_000)] | None = None


@attrs.frozen
class TerminalAnswer:
    """How many bytes the node has taken."""

    job_id: int
    bytes: int


@attrs.frozen
class ScriptAnswer:
    job_id: int
    script: str


@attrs.frozen
class CountAnswer:
    job_id: int
    count: int


@attrs.frozen
class ResumeAnswer:
    job_id: int
    count: int
    waits_for: tuple[int, ...]
    """Jobs that have some of its CPUs: it goes on when they have ended. Empty: it goes on now."""


@attrs.frozen
class PriorityAnswer:
    job_id: int
    priority: int


@attrs.frozen
class WeightAnswer:
    job_id: int
    weight: int


@attrs.frozen
class NodesPage:
    nodes: list[NodeView]
    next_cursor: str | None
    sequence: int


@attrs.frozen
class DrainAnswer:
    name: str
    is_drained: bool


@attrs.frozen
class HistoryAnswer:
    entries: tuple[HistoryEntry, ...]
    next_cursor: str | None
    sequence: int


@attrs.frozen
class ReceiptsAnswer:
    receipts: tuple[ReceiptSum, ...]
    sequence: int


@attrs.frozen
class PluginsAnswer:
    plugins: tuple[PluginListing, ...]


@attrs.frozen
class CallerView:
    user: str
    uid: int
    role: str


@attrs.frozen(kw_only=True)
class StatusAnswer:
    cluster: str
    version: str
    time_s: float
    started_time_s: float
    sequence: int
    is_accepting: bool
    problem: str
    nodes: dict[str, int]
    drained_count: int
    cpu_count: int
    cpus_free: int
    cpus_busy: float | None
    """In all jobs together, as nodes measure it; None: none does."""
    jobs: dict[str, int]
    caller: CallerView


@attrs.frozen
class ErrorView:
    kind: str
    text: str
    problems: tuple[Problem, ...]


@attrs.frozen
class ErrorAnswer:
    error: ErrorView


@attrs.frozen
class OpenApiAnswer:
    """The document itself."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
