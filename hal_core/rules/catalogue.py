"""The catalogue: which datasets there are, which nodes have copies, and what people ask of it: add, pin, remove. Pure.

Versions never change; what they are called by is never used again for something else while they are known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.errors import Conflict, NotFound, Problem, Refused, UserError, did_you_mean
from hal_core.models.dataset import REFERENCE, Dataset, DatasetId, output_of
from hal_core.models.event import (
    CopiesChanged,
    DatasetAdded,
    DatasetPinned,
    DatasetRemoved,
    Event,
    EvictionOrdered,
)
from hal_core.models.job import JobSpec, Owner
from hal_core.models.message import AddDataset, CopiesReported, EvictCopies, PinDataset, RemoveDataset
from hal_core.models.node import NodeName
from hal_core.rules import anonymous
from hal_core.rules.expiries import Expiries
from hal_core.rules.pace import Pace
from hal_core.rules.tier_memory import TierMemory

if TYPE_CHECKING:
    from hal_core.rules.state import State

DATASETS_MAX: Final = 100_000
EXPIRED_BY: Final = "retention"


class Catalogue:
    """The datasets of the configuration and those that people added, by id, the oldest first."""

    def __init__(self) -> None:
        self.by_id: dict[DatasetId, Dataset] = {}
        self._versions: dict[str, dict[DatasetId, None]] = {}
        """By name; the one that was added last is the last."""
        self.expiries = Expiries(self.by_id)
        self.anonymous: Counter[str] = Counter()
        """How many have no name (rules/anonymous.py), by owner."""
        self.tiers = TierMemory()
        """What rules/stage_in.py has found."""
        self.pace = Pace()
        self.copies: dict[DatasetId, set[NodeName]] = {}
        """Which nodes have one in their stores, as they say; also of what is not in the catalogue any more."""

    @property
    def named(self) -> Iterator[Dataset]:
        """Those that people are shown: the others have no name."""
        return (each for each in self.by_id.values() if not each.address)

    @property
    def anonymous_count(self) -> int:
        return self.anonymous.total()

    @property
    def next_expiry_s(self) -> float:
        """When the next one is to be taken out; infinity: never."""
        return self.expiries.next_s

    @property
    def named_count(self) -> int:
        return len(self.by_id) - self.anonymous_count

    @property
    def made(self) -> tuple[Dataset, ...]:
        """Those that people added."""
        return tuple(each for each in self.by_id.values() if each.owner)

    def define(self, configured: Iterable[Dataset]) -> None:
        """These stand in the configuration from now on. An id that somebody had used means what is written."""
        made = self.made
        self.by_id, self._versions, self.anonymous = {}, {}, Counter()
        self.expiries = Expiries(self.by_id)
        self.tiers.clear()
        written = {each.id: each for each in configured}
        for each in (*written.values(), *(each for each in made if each.id not in written)):
            self._put(each)

    def learn(self, bytes_read: int, read_s: float, configured: float) -> None:
        """A staging has shown how fast a node reads the datasets' own replicas."""
        if self.pace.learn(bytes_read, read_s, configured):
            self.tiers.clear()

    def restore(
        self,
        made: Iterable[Dataset],
        copies: Iterable[tuple[DatasetId, tuple[NodeName, ...]]],
        pace: tuple[float, float, float],
    ) -> None:
        """What a dump holds."""
        self.pace = Pace(*pace)
        for each in made:
            self._put(each)
        self.copies = {dataset_id: set(nodes) for dataset_id, nodes in copies}

    def copies_on(self, node: NodeName) -> list[DatasetId]:
        return [dataset_id for dataset_id, nodes in self.copies.items() if node in nodes]

    def apply(self, event: DatasetAdded | DatasetPinned | DatasetRemoved | CopiesChanged) -> None:
        """Fold one event."""
        match event:
            case DatasetAdded(dataset=dataset):
                self.tiers.forget((dataset.id, dataset.name))
                self._put(dataset)
            case DatasetPinned(dataset=dataset_id, is_pinned=is_pinned):
                self.by_id[dataset_id] = attrs.evolve(self.by_id[dataset_id], is_pinned=is_pinned)
                self.expiries.note(self.by_id[dataset_id])
            case DatasetRemoved(dataset=dataset_id):
                gone = self.by_id.pop(dataset_id)
                self._count(gone, -1)
                self.tiers.forget((dataset_id, gone.name))
                del self._versions[gone.name][dataset_id]
                if not self._versions[gone.name]:
                    del self._versions[gone.name]
            case CopiesChanged(node=node, added=added, dropped=dropped):
                self.tiers.forget((*added, *dropped))
                self.tiers.forget(each.partition("@")[0] for each in (*added, *dropped))
                for each in added:
                    self.copies.setdefault(each, set()).add(node)
                for each in dropped:
                    self.copies[each].discard(node)
                    if not self.copies[each]:
                        del self.copies[each]

    def find(self, text: str) -> Dataset | None:
        """By `name@version`, or by `name`: its newest version."""
        if "@" in text:
            return self.by_id.get(DatasetId(text))
        versions = self._versions.get(text)
        return self.by_id[next(reversed(versions))] if versions else None

    def demand(self, text: str) -> Dataset:
        """The same; raises NotFound with the nearest names."""
        found = self.find(text)
        if found is not None:
            return found
        name = text.partition("@")[0]
        versions = [self.by_id[each].version for each in self._versions.get(name, ())]
        if versions:
            raise NotFound(f"dataset {name!r} has no version {text[len(name) + 1 :]!r}; it has: {', '.join(versions)}")
        raise NotFound(
            f"there is no dataset {name!r}{did_you_mean(name, (each.name for each in self.named))}; see `hal data ls`"
        )

    def _put(self, dataset: Dataset) -> None:
        if dataset.id in self.by_id:
            self._count(self.by_id[dataset.id], -1)
        self._count(dataset, 1)
        self.by_id[dataset.id] = dataset
        self._versions.setdefault(dataset.name, {})[dataset.id] = None
        self.expiries.note(dataset)

    def _count(self, dataset: Dataset, change: int) -> None:
        if dataset.address:
            self.anonymous[dataset.owner] += change
            if not self.anonymous[dataset.owner]:
                del self.anonymous[dataset.owner]


def add(state: State, message: AddDataset, now_s: float) -> list[Event]:
    """The same again is no event; something else of the same name and version is a conflict."""
    dataset = attrs.evolve(message.dataset, add_time_s=now_s)
    if dataset.address:
        return anonymous.named(state, dataset)
    known = state.catalogue.by_id.get(dataset.id)
    if known is not None and (known.files, known.owner) == (dataset.files, dataset.owner):
        return []
    wrong = clash(state, dataset)
    if wrong is not None:
        raise wrong
    return [DatasetAdded(now_s, dataset)]


def clash(state: State, dataset: Dataset) -> UserError | None:
    """Why it cannot be taken in beside what is there."""
    if dataset.id in state.catalogue.by_id:
        return Conflict(f"there is a dataset {dataset.id} with other files or of another owner; give another version")
    other = state.catalogue.find(dataset.name)
    if other is not None and other.owner != dataset.owner:
        return Conflict(f"the name {dataset.name!r} is used by {other.owner or 'the configuration'}; choose another")
    if state.catalogue.named_count >= DATASETS_MAX:
        return Refused(f"there are {DATASETS_MAX} datasets, and no more are allowed; remove one with `hal data rm`")
    return None


def resolved(state: State, spec: JobSpec) -> tuple[JobSpec, list[Problem]]:
    """Each input that stands in the catalogue by its version: what the job reads does not change while it waits."""
    problems: list[Problem] = []
    inputs: list[str] = []
    for text in spec.inputs:
        if text.startswith(REFERENCE):
            try:
                text = f"{REFERENCE}{state.catalogue.demand(text.removeprefix(REFERENCE)).id}"
            except NotFound as error:
                problems.append(Problem("inputs", str(error)))
        inputs.append(text)
    return attrs.evolve(spec, inputs=tuple(dict.fromkeys(inputs))) if spec.inputs else spec, problems


def output_problems(state: State, spec: JobSpec, owner: Owner) -> list[Problem]:
    """Why a job of theirs cannot leave datasets of these names."""
    problems = []
    for output in map(output_of, spec.outputs):
        other = state.catalogue.find(output.name)
        if other is not None and other.owner != owner.user:
            text = f"the name {output.name!r} is used by {other.owner or 'the configuration'}; choose another"
            problems.append(Problem("outputs", text))
        elif output.version and f"{output.name}@{output.version}" in state.catalogue.by_id:
            text = f"there is a dataset {output.name}@{output.version} already; give another version, or none"
            problems.append(Problem("outputs", text))
    return problems


def pin_or_remove(state: State, message: PinDataset | RemoveDataset, now_s: float) -> list[Event]:
    if isinstance(message, PinDataset):
        found = _changeable(state, message.dataset, "change it")
        is_news = found.is_pinned != message.is_pinned
        return [DatasetPinned(now_s, found.id, message.is_pinned, message.by)] if is_news else []
    found = _changeable(state, message.dataset, "take it out")
    if found.is_pinned:
        raise Refused(f"dataset {found.id} is pinned; `hal data unpin {found.id}` first")
    return [DatasetRemoved(now_s, found.id, message.by)]


def _changeable(state: State, text: str, what: str) -> Dataset:
    found = state.catalogue.demand(text)
    if not found.owner:
        raise Refused(f"dataset {found.id} stands in the configuration; {what} there")
    return found


def evict(state: State, message: EvictCopies, now_s: float) -> tuple[list[Event], int]:
    """Nodes keep what a job needs there; what is pinned is not dropped at all."""
    found = state.catalogue.demand(message.dataset)
    if found.is_pinned:
        raise Refused(f"dataset {found.id} is pinned; `hal data unpin {found.id}` first")
    for name in message.nodes:
        if name not in state.table.number_of:
            raise NotFound(f"no node named {name!r}{did_you_mean(name, state.table.number_of)}")
    there = state.catalogue.copies.get(found.id, set())
    nodes = tuple(sorted(there.intersection(message.nodes) if message.nodes else there))
    return ([EvictionOrdered(now_s, found.id, nodes, message.by)] if nodes else []), len(nodes)


def copies_reported(state: State, message: CopiesReported, now_s: float) -> list[Event]:
    """Only what is new. Of nodes that are not known nothing is kept."""
    if message.node not in state.table.number_of:
        return []
    known, said = set(state.catalogue.copies_on(message.node)), set(message.datasets)
    if known == said:
        return []
    return [CopiesChanged(now_s, message.node, tuple(sorted(said - known)), tuple(sorted(known - said)))]


def expired(state: State, now_s: float) -> list[Event]:
    """Those whose time is over, unless somebody pinned them. What has no name has more time while a job needs it."""
    over = state.catalogue.expiries.over(now_s)
    needed = {each.id for each in anonymous.still_needed(state, (each for each in over if each.address))}
    return [
        DatasetAdded(now_s, attrs.evolve(each, add_time_s=now_s))
        if each.id in needed
        else DatasetRemoved(now_s, each.id, EXPIRED_BY)
        for each in over
    ]
