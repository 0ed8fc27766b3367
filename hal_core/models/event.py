"""Events: facts, in the past tense. The journal holds nothing else, and the state is a fold of them.

Change this file with care: old journals must stay readable. A new field needs a default; a changed meaning needs a
new version in EVENT_VERSIONS and a reader for the old one. Every event begins with the time of its cycle, in seconds
since the epoch.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec

from hal_core.models.access import AccessChange
from hal_core.models.booking import BookingsChanged as BookingsChanged
from hal_core.models.dataset_event import (
    CopiesChanged as CopiesChanged,
    DatasetAdded as DatasetAdded,
    DatasetPinned as DatasetPinned,
    DatasetRemoved as DatasetRemoved,
    EvictionOrdered as EvictionOrdered,
    OutputRefused as OutputRefused,
)
from hal_core.models.elastic_event import WeightChanged as WeightChanged
from hal_core.models.end_event import JobEnded as JobEnded
from hal_core.models.job import End, JobId, JobSpec, Owner
from hal_core.models.node import Cluster, Node, NodeName, Reservation
from hal_core.models.placement import AttemptKey, Grant, Share
from hal_core.models.pool_event import PoolEvent
from hal_core.models.prediction import Prediction
from hal_core.models.ranges import Ranges
from hal_core.models.session import SessionChanged as SessionChanged
from hal_core.models.suspension_event import (
    JobResumed as JobResumed,
    JobResumeRequested as JobResumeRequested,
    JobSuspended as JobSuspended,
)
from hal_core.models.variant import Variant


@attrs.frozen
class ClusterDefined:
    """The daemon read its configuration: nodes and partitions are these from now on."""

    time_s: float
    cluster: Cluster


@attrs.frozen
class JobSubmitted:
    """A job was taken in. What was answered with this id is on disk."""

    time_s: float
    job_id: JobId
    client_id: str
    owner: Owner
    spec: JobSpec


@attrs.frozen
class JobHeld:
    """Its owner or an operator keeps a job from starting; what runs of it goes on."""

    time_s: float
    job_id: JobId
    by: str


@attrs.frozen
class JobReleased:
    """A held job may start again."""

    time_s: float
    job_id: JobId
    by: str


@attrs.frozen
class PriorityChanged:
    """A job has another priority than it was submitted with, or had since."""

    time_s: float
    job_id: JobId
    priority: int
    by: str


@attrs.frozen
class VariantChosen:
    """A job that may run with several amounts waits for, or starts in the same pass with, others than before."""

    time_s: float
    job_id: JobId
    number: int
    """Among the variants of its spec."""
    variant: Variant
    expected_end_s: float | None
    """When it is expected to end with these; None: nobody knows."""
    otherwise_s: float | None
    """When it was expected to end with those before."""


@attrs.frozen
class JobPlaced:
    """Elements were given an allocation. `elements` holds several only if all go to one node (see Share)."""

    time_s: float
    job_id: JobId
    attempt: int
    elements: Ranges
    shares: tuple[Share, ...]


@attrs.frozen
class InputsStaged:
    """The inputs of an attempt are on its nodes; bytes are sums over them."""

    time_s: float
    key: AttemptKey
    bytes_moved: int
    bytes_saved: int = 0
    """Of its inputs, what was there already and did not have to be moved."""
    bytes_read: int = 0
    read_s: float = 0.0
    """Of what was moved, what came from the datasets' own replicas, and how long that took, on all nodes together."""


@attrs.frozen
class PartStarted:
    """One node's part of an attempt runs. `start_time_s` is the node's own clock."""

    time_s: float
    key: AttemptKey
    node: NodeName
    start_time_s: float


@attrs.frozen
class PartEnded:
    """One node's part of a gang ended while others still run. A single-node attempt has only JobEnded."""

    time_s: float
    key: AttemptKey
    node: NodeName
    end: End


@attrs.frozen
class JobCancelRequested:
    """Active elements were asked to end; each ends by its own JobEnded (or JobRequeued, if `does_requeue`)."""

    time_s: float
    job_id: JobId
    elements: Ranges
    by: str
    does_requeue: bool = False
    detail: str = ""
    grace_s: float | None = None
    """From SIGTERM to SIGKILL; None: as the job says."""
    preempted_for: JobId | None = None
    """They make room for this job."""


@attrs.frozen
class JobRequeued:
    """An attempt is over and the element waits again, as attempt + 1."""

    time_s: float
    key: AttemptKey
    by: str
    end: End


@attrs.frozen
class NodeJoined:
    """A node's executor reported; the node can be given work (unless drained)."""

    time_s: float
    node: Node
    boot_id: str
    missing: tuple[str, ...] = ()


@attrs.frozen
class NodeSuspected:
    """Contact to a node was lost a moment ago: it gets nothing new."""

    time_s: float
    node: NodeName


@attrs.frozen
class NodeWentDown:
    """Contact stayed lost, or an operator said so: what ran there is given up."""

    time_s: float
    node: NodeName
    detail: str


@attrs.frozen
class NodeDrained:
    """An operator took a node out: what runs there goes on, and it gets nothing new."""

    time_s: float
    node: NodeName
    reason: str
    by: str


@attrs.frozen
class NodeResumed:
    """A drained node can be given work again."""

    time_s: float
    node: NodeName
    by: str


@attrs.frozen
class OrphanFound:
    """A node has an attempt, or may have it since it was given up, that the state does not want there: it is ended and
    forgotten, and until then nothing new is started on that node, nor the attempt queued again."""

    time_s: float
    node: NodeName
    key: AttemptKey
    is_ended: bool


@attrs.frozen
class Planned:
    """A pass of the engine that started or promised something: what it saw, and its promises (job, start time)."""

    time_s: float
    engine: str
    sequence: int
    depth: int
    start_count: int
    refused_count: int
    reserves: tuple[tuple[JobId, float], ...]
    promised_nodes: tuple[Ranges, ...] = ()
    """The node numbers of each promise; older journals do not have them."""
    grants: tuple[Grant, ...] = ()
    """Starts that wait for elastic jobs to leave."""


@attrs.frozen
class RunTimesPredicted:
    """How long (each element of) these jobs will run, as a predictor says. For planning; nothing is killed for it."""

    time_s: float
    predictor: str
    predictions: tuple[tuple[JobId, Prediction], ...]


@attrs.frozen
class ObserverDisabled:
    """An observer or predictor raised or was late, and is asked no more until the daemon starts again."""

    time_s: float
    observer: str
    detail: str


@attrs.frozen
class PolicyChanged:
    """Another engine plans from now on: it did better when HAL tried it on the queue, or the other one worse."""

    time_s: float
    policy: str
    before: str
    reason: str
    gain: float
    """The share of all waiting that it is expected to save, against the one before."""


@attrs.frozen
class ReservationAdded:
    """An operator keeps nodes for some users and accounts, or for maintenance."""

    time_s: float
    reservation: Reservation


@attrs.frozen
class ReservationRemoved:
    """An operator gave the nodes of a reservation back."""

    time_s: float
    name: str
    by: str


@attrs.frozen
class AccessChanged:
    """Somebody may come in who could not before, or may not any more. Nothing secret is in it."""

    time_s: float
    change: AccessChange
    subject: str
    """The user or node that it is about."""
    by: str
    detail: str


@attrs.frozen
class IdleFound:
    """An attempt runs, and has used next to nothing of its CPUs for as long as the site wants to be told of."""

    time_s: float
    key: AttemptKey
    since_s: float
    cpu_count: int
    """Held by it."""


SiteEvent = (
    ClusterDefined
    | JobSubmitted
    | JobHeld
    | JobReleased
    | PriorityChanged
    | VariantChosen
    | JobPlaced
    | InputsStaged
    | PartStarted
    | PartEnded
    | JobCancelRequested
    | JobSuspended
    | JobResumed
    | JobResumeRequested
    | JobEnded
    | JobRequeued
    | NodeJoined
    | NodeSuspected
    | NodeWentDown
    | NodeDrained
    | NodeResumed
    | OrphanFound
    | Planned
    | RunTimesPredicted
    | ObserverDisabled
    | PolicyChanged
    | ReservationAdded
    | ReservationRemoved
    | AccessChanged
    | DatasetAdded
    | DatasetPinned
    | DatasetRemoved
    | CopiesChanged
    | EvictionOrdered
    | OutputRefused
    | IdleFound
    | BookingsChanged
    | SessionChanged
    | WeightChanged
)
"""All but those of cloud pools."""

Event = SiteEvent | PoolEvent

EVENT_CLASSES: Final[dict[str, type[Any]]] = {cls.__name__: cls for cls in Event.__args__}
EVENT_VERSIONS: Final[dict[str, int]] = dict.fromkeys(EVENT_CLASSES, 1)

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS = {name: msgspec.msgpack.Decoder(cls) for name, cls in EVENT_CLASSES.items()}


def encode_event(event: Event) -> tuple[str, int, bytes]:
    """(kind, version, msgpack body), as the journal stores it."""
    kind = type(event).__name__
    return kind, EVENT_VERSIONS[kind], _ENCODER.encode(event)


def decode_event(kind: str, version: int, body: bytes) -> Event:
    """The inverse. Raises ValueError for a kind or version that this HAL does not know: never skip one."""
    if EVENT_VERSIONS.get(kind) != version:
        raise ValueError(f"event {kind} version {version} was written by another version of HAL")
    event: Event = _DECODERS[kind].decode(body)
    return event
