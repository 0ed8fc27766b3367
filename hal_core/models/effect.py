"""Effects: what a plane is asked to do once its events are on disk. At least once, and idempotent by key."""

from __future__ import annotations

import attrs

from hal_core.models.dataset import Dataset, DatasetId
from hal_core.models.job import JobSpec, Owner
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey, Share


@attrs.frozen
class LaunchOrder:
    """Start one node's part of one attempt.

    `share` is this element's own (no union). `nodes` are all nodes of the gang in rank order with their task counts,
    so that every part can tell its processes about the whole. The node derives ranks from its place in `nodes`.
    `epoch` is set by the kernel: a node refuses orders of an older epoch. `addresses` are those of `nodes`, in order.
    `trace` is the id of the job's trace in hexadecimal digits (models/trace.py). `file_names` are the inputs that were
    called by their address, each with what its file is called on the node.
    """

    key: AttemptKey
    owner: Owner
    spec: JobSpec
    share: Share
    nodes: tuple[tuple[NodeName, int], ...]
    epoch: int = 0
    addresses: tuple[str, ...] = ()
    trace: str = ""
    file_names: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class CancelOrder:
    """End one node's part: SIGTERM, then SIGKILL after `grace_s`. `why` is for the log."""

    key: AttemptKey
    grace_s: float
    why: str = ""


@attrs.frozen
class SuspendOrder:
    """Let one node's part stand still, or (`does_resume`) go on. The latest order counts."""

    key: AttemptKey
    does_resume: bool = False


@attrs.frozen
class Launch:
    """Effect: order a launch on `node`."""

    node: NodeName
    order: LaunchOrder


@attrs.frozen
class CancelPart:
    """Effect: order the end of a part on `node`."""

    node: NodeName
    order: CancelOrder


@attrs.frozen
class SuspendPart:
    """Effect: let a part on `node` stand still, or go on. Before any launch of the same round."""

    node: NodeName
    order: SuspendOrder


@attrs.frozen
class Forget:
    """Effect: the journal has the end of this part; the node may remove its records."""

    node: NodeName
    key: AttemptKey


@attrs.frozen
class Stage:
    """Effect: bring the inputs to the nodes, then report StagingDone or StagingFailed.

    `inputs` are those that providers know, `datasets` those of the catalogue; `unknown` are inputs that were in it when
    the job was submitted, and are no more.
    """

    key: AttemptKey
    inputs: tuple[str, ...]
    working_directory: str
    nodes: tuple[NodeName, ...]
    datasets: tuple[Dataset, ...] = ()
    unknown: tuple[str, ...] = ()


@attrs.frozen
class KeepOrder:
    """What is to become of copies in a node's store."""

    pinned: tuple[DatasetId, ...] = ()
    unpinned: tuple[DatasetId, ...] = ()
    dropped: tuple[DatasetId, ...] = ()


@attrs.frozen
class Keep:
    """Effect: tell the store of `node`."""

    node: NodeName
    order: KeepOrder


@attrs.frozen
class BringAhead:
    """Effect: bring datasets into the store of `node`, for a job that is likely to start there. Nobody waits for it."""

    node: NodeName
    key: AttemptKey
    datasets: tuple[Dataset, ...]


Effect = Launch | CancelPart | SuspendPart | Forget | Stage | Keep | BringAhead
