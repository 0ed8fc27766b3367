"""The catalogue: which datasets there are and what people ask of it: add, pin, remove. Pure.

Versions never change; what they are called by is never used again for something else while they are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.errors import Conflict, NotFound, Refused, did_you_mean
from hal_core.models.dataset import Dataset, DatasetId
from hal_core.models.event import DatasetAdded, DatasetPinned, DatasetRemoved, Event
from hal_core.models.message import AddDataset, PinDataset, RemoveDataset

if TYPE_CHECKING:
    from hal_core.rules.state import State

DATASETS_MAX: Final = 100_000
EXPIRED_BY: Final = "retention"


class Catalogue:
    """The datasets of the configuration and those that people added, by id, the oldest first."""

    def __init__(self) -> None:
        self.by_id: dict[DatasetId, Dataset] = {}
        self._newest: dict[str, DatasetId] = {}
        """Name -> the version that was added last."""
        self.next_expiry_s = math.inf
        """When the next one is to be taken out."""

    @property
    def made(self) -> tuple[Dataset, ...]:
        """Those that people added."""
        return tuple(each for each in self.by_id.values() if each.owner)

    def define(self, configured: Iterable[Dataset]) -> None:
        """These stand in the configuration from now on. An id that somebody had used means what is written."""
        made = self.made
        self.by_id, self._newest, self.next_expiry_s = {}, {}, math.inf
        written = {each.id: each for each in configured}
        for each in (*written.values(), *(each for each in made if each.id not in written)):
            self._put(each)

    def restore(self, made: Iterable[Dataset]) -> None:
        """Those that a dump holds."""
        for each in made:
            self._put(each)

    def apply(self, event: DatasetAdded | DatasetPinned | DatasetRemoved) -> None:
        """Fold one event."""
        match event:
            case DatasetAdded(dataset=dataset):
                self._put(dataset)
            case DatasetPinned(dataset=dataset_id, is_pinned=is_pinned):
                self.by_id[dataset_id] = attrs.evolve(self.by_id[dataset_id], is_pinned=is_pinned)
                self._look_at_expiries(self.by_id[dataset_id])
            case DatasetRemoved(dataset=dataset_id):
                gone = self.by_id.pop(dataset_id)
                if self._newest[gone.name] == dataset_id:
                    del self._newest[gone.name]
                    self._newest.update((each.name, each.id) for each in self.by_id.values() if each.name == gone.name)
                self._look_at_expiries(gone)

    def find(self, text: str) -> Dataset | None:
        """By `name@version`, or by `name`: its newest version."""
        return self.by_id.get(DatasetId(text) if "@" in text else self._newest.get(text, DatasetId("")))

    def demand(self, text: str) -> Dataset:
        """The same; raises NotFound with the nearest names."""
        found = self.find(text)
        if found is not None:
            return found
        name = text.partition("@")[0]
        versions = [each.version for each in self.by_id.values() if each.name == name]
        if versions:
            raise NotFound(f"dataset {name!r} has no version {text[len(name) + 1 :]!r}; it has: {', '.join(versions)}")
        raise NotFound(f"there is no dataset {name!r}{did_you_mean(name, self._newest)}; see `hal data ls`")

    def _put(self, dataset: Dataset) -> None:
        self.by_id[dataset.id] = dataset
        self._newest[dataset.name] = dataset.id
        if not dataset.is_pinned:
            self.next_expiry_s = min(self.next_expiry_s, dataset.expiry_time_s)

    def _look_at_expiries(self, changed: Dataset) -> None:
        if changed.retention_s is not None:
            times = (each.expiry_time_s for each in self.by_id.values() if not each.is_pinned)
            self.next_expiry_s = min(times, default=math.inf)


def add(state: State, message: AddDataset, now_s: float) -> list[Event]:
    """The same again is no event; something else of the same name and version is a conflict."""
    dataset = attrs.evolve(message.dataset, add_time_s=now_s)
    known = state.catalogue.by_id.get(dataset.id)
    if known is not None:
        if (known.files, known.owner) == (dataset.files, dataset.owner):
            return []
        raise Conflict(f"there is a dataset {dataset.id} with other files or of another owner; give another version")
    other = state.catalogue.find(dataset.name)
    if other is not None and other.owner != dataset.owner:
        raise Conflict(f"the name {dataset.name!r} is used by {other.owner or 'the configuration'}; choose another")
    if len(state.catalogue.by_id) >= DATASETS_MAX:
        raise Refused(f"there are {DATASETS_MAX} datasets, and no more are allowed; remove one with `hal data rm`")
    return [DatasetAdded(now_s, dataset)]


def pin(state: State, message: PinDataset, now_s: float) -> list[Event]:
    found = _changeable(state, message.dataset, "change it")
    return (
        [] if found.is_pinned == message.is_pinned else [DatasetPinned(now_s, found.id, message.is_pinned, message.by)]
    )


def remove(state: State, message: RemoveDataset, now_s: float) -> list[Event]:
    found = _changeable(state, message.dataset, "take it out")
    if found.is_pinned:
        raise Refused(f"dataset {found.id} is pinned; `hal data unpin {found.id}` first")
    return [DatasetRemoved(now_s, found.id, message.by)]


def _changeable(state: State, text: str, what: str) -> Dataset:
    found = state.catalogue.demand(text)
    if not found.owner:
        raise Refused(f"dataset {found.id} stands in the configuration; {what} there")
    return found


def expired(state: State, now_s: float) -> list[Event]:
    """Those whose time is over, unless somebody pinned them."""
    return [
        DatasetRemoved(now_s, each.id, EXPIRED_BY)
        for each in state.catalogue.by_id.values()
        if each.expiry_time_s <= now_s and not each.is_pinned
    ]
