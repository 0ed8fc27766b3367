"""Events of the catalogue of datasets and of the stores on nodes. As all events (models/event.py), facts."""

from __future__ import annotations

import attrs

from hal_core.models.dataset import Dataset, DatasetId
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey


@attrs.frozen
class DatasetAdded:
    """A version of a dataset is in the catalogue, and will not change."""

    time_s: float
    dataset: Dataset


@attrs.frozen
class DatasetPinned:
    """Its copies on nodes stay there from now on, or may go again."""

    time_s: float
    dataset: DatasetId
    is_pinned: bool
    by: str


@attrs.frozen
class DatasetRemoved:
    """The catalogue does not know it any more. Nothing of its replicas is touched."""

    time_s: float
    dataset: DatasetId
    by: str


@attrs.frozen
class CopiesChanged:
    """A node's store has these datasets now, or has them no more."""

    time_s: float
    node: NodeName
    added: tuple[DatasetId, ...]
    dropped: tuple[DatasetId, ...]


@attrs.frozen
class EvictionOrdered:
    """These nodes are to drop their copies. What comes of it, they say."""

    time_s: float
    dataset: DatasetId
    nodes: tuple[NodeName, ...]
    by: str


@attrs.frozen
class OutputRefused:
    """What an attempt left was to be a dataset and could not be taken in; `detail` says why."""

    time_s: float
    key: AttemptKey
    dataset: DatasetId
    detail: str
