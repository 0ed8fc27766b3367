"""Messages: what comes into the core. Imperatives from people, observations from the planes.

A message is never stored; the events it leads to are. Each is decided in rules/decide.py.
"""

from __future__ import annotations

import attrs

from hal_core.models.access import AccessChange
from hal_core.models.booking import NodeBookings, QueuedStart
from hal_core.models.dataset import Dataset, DatasetId, MadeDataset
from hal_core.models.job import End, JobId, JobSpec, Owner
from hal_core.models.job_message import (
    Cancel as Cancel,
    Hold as Hold,
    JobSelection as JobSelection,
    Release as Release,
    Requeue as Requeue,
    Resume as Resume,
    SetPriority as SetPriority,
    SetWeight as SetWeight,
    Suspend as Suspend,
)
from hal_core.models.node import Cluster, Node, NodeName, PartitionName, Reservation
from hal_core.models.placement import AttemptKey
from hal_core.models.prediction import Prediction
from hal_core.models.session import LoseSession as LoseSession, NoteSession as NoteSession
from hal_core.models.tuning import Verdict


@attrs.frozen
class Submission:
    """One job to take in. `client_id` makes it idempotent per user: sent twice, it is one job."""

    client_id: str
    owner: Owner
    spec: JobSpec


@attrs.frozen
class Submit:
    """Take in all or none. Answer: a tuple of JobId in the same order."""

    submissions: tuple[Submission, ...]


@attrs.frozen
class DefineCluster:
    """The configuration as read at start or reload."""

    cluster: Cluster


@attrs.frozen
class PartStatus:
    """What a node knows about one attempt: started and perhaps ended (end is None while it runs)."""

    key: AttemptKey
    start_time_s: float | None = None
    end_time_s: float | None = None
    end: End | None = None
    node_fault: str = ""
    """Why this node should get no further work: its prolog or epilog failed."""


@attrs.frozen
class NodeReported:
    """A node's executor (re)connected. `parts` is everything that the node still has records of. The kernel fills in
    `node.executor`: who has reported it."""

    node: Node
    boot_id: str
    parts: tuple[PartStatus, ...] = ()
    missing: tuple[str, ...] = ()
    """What the machine cannot do for jobs, in words: "memory limits: no memory cgroup"."""


@attrs.frozen
class NodeSilent:
    """Contact to a node was lost a moment ago."""

    node: NodeName


@attrs.frozen
class ClockSet:
    """The daemon's wall clock was set, or this is another run of the daemon: how long nodes have been out of contact
    is counted from now on."""


@attrs.frozen
class NodeLost:
    """Contact stayed lost beyond the limit, or an operator says so: what ran there is given up."""

    node: NodeName
    detail: str


@attrs.frozen
class NodeLeaving:
    """The cloud that a node is rented from takes it back in `left_s` seconds; None: it is likely to do so."""

    node: NodeName
    reason: str
    left_s: float | None


@attrs.frozen
class BookingsReported:
    """An executor hands jobs to another scheduler: how all of its nodes are booked there, and when what HAL has in that
    queue is expected to start."""

    executor: str
    nodes: tuple[NodeBookings, ...]
    starts: tuple[QueuedStart, ...] = ()


@attrs.frozen
class DrainNode:
    node: NodeName
    reason: str
    by: str


@attrs.frozen
class ResumeNode:
    node: NodeName
    by: str


@attrs.frozen
class AddReservation:
    """Keep nodes. With `node_count`, so many of the partition (None: the default one) are chosen for it."""

    reservation: Reservation
    node_count: int = 0
    partition: PartitionName | None = None
    does_ignore_jobs: bool = False
    """What runs there may run on into it."""


@attrs.frozen
class RemoveReservation:
    name: str
    by: str


@attrs.frozen
class PartsChanged:
    """A batch of reports from one node: parts that started, or ended."""

    node: NodeName
    parts: tuple[PartStatus, ...]


@attrs.frozen
class PredictionsMade:
    """What a predictor says of jobs that wait or run. Of others nothing is kept."""

    predictor: str
    predictions: tuple[tuple[JobId, Prediction], ...]


@attrs.frozen
class StagingDone:
    key: AttemptKey
    bytes_moved: int = 0
    bytes_saved: int = 0
    bytes_read: int = 0
    read_s: float = 0.0


@attrs.frozen
class StagingFailed:
    key: AttemptKey
    detail: str


@attrs.frozen
class ChangePolicy:
    """This engine is to plan from now on, instead of the one before."""

    verdict: Verdict
    before: str


@attrs.frozen
class ObserverFailed:
    observer: str
    detail: str


@attrs.frozen
class NoteAccess:
    """A token was made, or a node enrolled or revoked. It becomes an event before anybody profits from it."""

    change: AccessChange
    subject: str
    by: str
    detail: str


@attrs.frozen
class AddDataset:
    """Put a version of a dataset into the catalogue."""

    dataset: Dataset


@attrs.frozen
class PinDataset:
    """Keep its copies on nodes, or no longer. `dataset` is `name` (the newest version) or `name@version`."""

    dataset: str
    is_pinned: bool
    by: str


@attrs.frozen
class RemoveDataset:
    """Take it out of the catalogue. `dataset` as in PinDataset."""

    dataset: str
    by: str


@attrs.frozen
class EvictCopies:
    """Drop copies on nodes; none named: on all that have one. Answer: on how many nodes there were any."""

    dataset: str
    nodes: tuple[NodeName, ...]
    by: str


@attrs.frozen
class CopiesReported:
    """All datasets that a node's store has."""

    node: NodeName
    datasets: tuple[DatasetId, ...]


@attrs.frozen
class OutputsMade:
    """What an attempt left as datasets on a node. Said before its end is, and perhaps again after it."""

    node: NodeName
    key: AttemptKey
    datasets: tuple[MadeDataset, ...]


@attrs.frozen
class AllocationIdle:
    """An attempt that runs has done next to nothing for a while."""

    key: AttemptKey
    since_s: float


@attrs.frozen
class DecidePool:
    """Look at what waits, and at what there is. Answer: when to ask again if nothing happens, in seconds since the
    epoch; None: never."""

    pool: str


@attrs.frozen
class MadeInstance:
    """An instance that a provider has made: its id there, and which node it is."""

    native_id: str
    node: str


@attrs.frozen
class InstancesMade:
    """The provider's answer to a request: these, and no others."""

    pool: str
    token: str
    made: tuple[MadeInstance, ...]


@attrs.frozen
class ProvisionFailed:
    """The provider's other answer. Not `is_certain`: it may have made some all the same."""

    pool: str
    token: str
    detail: str
    is_certain: bool
    retry_after_s: float = 0.0


@attrs.frozen
class InstancesEnded:
    """The provider has ended these as it was told, or, if not `was_asked`, does not list them any more."""

    pool: str
    instances: tuple[str, ...]
    was_asked: bool


@attrs.frozen
class StopPool:
    """Rent nothing more. With `does_release`, give back all that there is, and with it what runs there."""

    pool: str
    does_release: bool
    by: str


@attrs.frozen
class ResumePool:
    pool: str
    by: str


@attrs.frozen
class Tick:
    """A timer fired: something may have become due (begin times, retention)."""


PoolMessage = DecidePool | InstancesMade | ProvisionFailed | InstancesEnded | StopPool | ResumePool

Message = (
    Submit
    | Cancel
    | Hold
    | Release
    | Requeue
    | Suspend
    | Resume
    | SetPriority
    | SetWeight
    | DefineCluster
    | NodeReported
    | NodeSilent
    | ClockSet
    | NodeLost
    | NodeLeaving
    | BookingsReported
    | DrainNode
    | ResumeNode
    | AddReservation
    | RemoveReservation
    | PartsChanged
    | StagingDone
    | StagingFailed
    | PredictionsMade
    | ObserverFailed
    | ChangePolicy
    | NoteAccess
    | AddDataset
    | PinDataset
    | RemoveDataset
    | EvictCopies
    | CopiesReported
    | OutputsMade
    | AllocationIdle
    | NoteSession
    | LoseSession
    | PoolMessage
    | Tick
)

Answer = tuple[JobId, ...] | int | float | None
"""What the sender is told: the job ids (Submit), how many elements (Cancel, Requeue, Suspend, Resume), when
(DecidePool), or nothing."""
