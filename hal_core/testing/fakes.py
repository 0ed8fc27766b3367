"""Fakes of the planes: small, real implementations in memory. They keep the contracts (tests/conformance proves it).

The executor's fake is in fake_executor.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

import attrs
import trio

from hal_core.errors import NotFound, PluginError, Refused
from hal_core.models.event import Event, JobSubmitted
from hal_core.models.event_values import job_of
from hal_core.models.job import JobId, Shape
from hal_core.models.node import NodeName
from hal_core.models.plan import Plan, Snapshot, Start
from hal_core.models.prediction import Arrival, Outcome, Prediction
from hal_core.planes import Instance, Offer, Replica
from hal_core.testing.snapshots import FakeColumns


class FakeEngine:
    """First come, first served: starts jobs in their order, on the first nodes that fit (of the first domain that has
    enough, if a level is required), until one does not."""

    def plan(self, snapshot: Snapshot) -> Plan:
        columns = FakeColumns.copy_of(snapshot.columns)
        starts: list[Start] = []
        depth = 0
        for job in snapshot.pending():
            depth += 1
            together = _together(snapshot, job.shape)
            for _ in range(job.element_count):
                chosen = next(filter(None, (columns.places(job.shape, nodes) for nodes in together)), ())
                if not chosen:
                    return Plan(tuple(starts), depth=depth)
                columns.take_all(chosen, job.shape)
                starts.append(Start(job.job_id, chosen))
        return Plan(tuple(starts), depth=depth)


def _together(snapshot: Snapshot, shape: Shape) -> list[Sequence[int]]:
    """The nodes of the partition, those of each domain by themselves if the shape requires its level."""
    nodes = snapshot.partition_nodes(shape.partition)
    domains = snapshot.room().packing.domains if shape.is_level_required else None
    if domains is None:
        return [nodes]
    depth = domains.topology.depth_of(shape.level) or 0
    return [[each for each in nodes if domain.nodes >> each & 1] for domain in domains.at_depth[depth]]


class FakePredictor:
    """Predicts the mean of all run times that it has seen. With `does_revise` it would answer anew about every job."""

    def __init__(self, does_revise: bool = False) -> None:
        self.seen_s: list[float] = []
        self._asked: dict[JobId, None] = {}
        self._does_revise = does_revise

    def predict(self, jobs: Sequence[Arrival]) -> Sequence[Prediction | None]:
        self._asked |= dict.fromkeys(job.job_id for job in jobs)
        return [self.foretell(job) for job in jobs]

    def foretell(self, job: Arrival) -> Prediction | None:
        if not self.seen_s:
            return None
        mean_s = sum(self.seen_s) / len(self.seen_s)
        return Prediction(mean_s, mean_s, mean_s)

    def learn(self, outcomes: Sequence[Outcome]) -> Sequence[JobId]:
        self.seen_s += [outcome.runtime_s for outcome in outcomes]
        return list(self._asked) if self._does_revise else ()


class FakeObserver:
    """Keeps what it is given, as (sequence, event). While `fails_with` is set, it raises that instead."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Event]] = []
        self.fails_with: Exception | None = None

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.seen += [(first_sequence + offset, event) for offset, event in enumerate(events)]


class FakeEventLog:
    """Implements planes.EventLog over a list; event number 1 is the first. `places` is what readers have kept."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.events = list(events)
        self.places: dict[str, int] = {}
        self._has_grown = trio.Event()
        self._was_kept = trio.Event()

    def append(self, event: Event) -> None:
        self.events.append(event)
        self._has_grown.set()
        self._has_grown = trio.Event()

    async def until_placed(self) -> None:
        """Wait until some reader has asked for its place."""
        while not self.places:
            await self._was_kept.wait()

    async def until_kept(self, reader: str, sequence: int) -> None:
        """Wait until the reader has kept that place."""
        while self.places.get(reader) != sequence:
            await self._was_kept.wait()

    async def place(self, reader: str) -> int:
        await trio.lowlevel.checkpoint()
        if reader not in self.places:
            await self.keep(reader, len(self.events))
        return self.places[reader]

    async def keep(self, reader: str, sequence: int) -> None:
        await trio.lowlevel.checkpoint()
        self.places[reader] = sequence
        self._was_kept.set()
        self._was_kept = trio.Event()

    async def read(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        await trio.lowlevel.checkpoint()
        while after >= len(self.events):
            await self._has_grown.wait()
        return list(enumerate(self.events, 1))[after : after + limit]

    async def history(self, job_id: JobId, last: int) -> Sequence[Event]:
        await trio.lowlevel.checkpoint()
        return [event for event in self.events[:last] if job_of(event) == job_id]

    async def arrival(self, job_id: JobId) -> Arrival | None:
        await trio.lowlevel.checkpoint()
        for event in self.events:
            if isinstance(event, JobSubmitted) and event.job_id == job_id:
                return Arrival(job_id, event.owner, event.spec, event.time_s)
        return None


class FakeLocality:
    """Datasets named `fake:...`, with replicas in memory. A copy costs its size at `bytes_per_s`, and no money."""

    def __init__(self, replicas: Sequence[Replica] = (), bytes_per_s: float = 1e9) -> None:
        self.replicas = list(replicas)
        self.bytes_per_s = bytes_per_s

    def recognises(self, dataset: str) -> bool:
        return dataset.startswith("fake:")

    async def locate(self, datasets: Sequence[str]) -> Sequence[Sequence[Replica]]:
        return [[replica for replica in self.replicas if replica.dataset == dataset] for dataset in datasets]

    async def stage(self, dataset: str, nodes: Sequence[NodeName]) -> int:
        (found,) = await self.locate([dataset])
        if not found:
            raise NotFound(f"dataset {dataset!r} is nowhere")
        there = {replica.node for replica in found}
        if None in there:
            return 0
        missing = [node for node in dict.fromkeys(nodes) if node not in there]
        self.replicas += [attrs.evolve(found[0], node=node) for node in missing]
        return found[0].size_bytes * len(missing)

    async def evict(self, dataset: str, node: NodeName) -> None:
        if any(replica.dataset == dataset and replica.node is None for replica in self.replicas):
            raise Refused(f"dataset {dataset!r} is on a shared file system")
        self.replicas = [each for each in self.replicas if (each.dataset, each.node) != (dataset, node)]

    def cost(self, replica: Replica, node: NodeName) -> tuple[float, float]:
        return (0.0 if replica.node in (None, node) else replica.size_bytes / self.bytes_per_s, 0.0)


class FakeSource:
    """DataSource of files in memory, by address, in pieces of `piece_bytes`. Change what it holds while it is read."""

    def __init__(self, contents: Mapping[str, bytes], piece_bytes: int = 4096) -> None:
        self.contents = dict(contents)
        self.piece_bytes = piece_bytes
        self.asked: list[tuple[str, int]] = []
        self.bytes_given = 0
        self.breaks_after: dict[str, int] = {}
        """Address -> how many bytes each reading gives before it raises OSError."""

    @asynccontextmanager
    async def reading(self, address: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append((address, offset))
        if address not in self.contents:
            raise NotFound(f"there is nothing at {address!r}")
        async with aclosing(self._pieces(address, offset)) as pieces:
            yield pieces

    async def _pieces(self, address: str, offset: int) -> AsyncGenerator[bytes]:
        most = self.breaks_after.get(address)
        begin = offset
        while piece := self.contents[address][offset : offset + self.piece_bytes]:
            if most is not None and offset + len(piece) - begin > most:
                raise ConnectionResetError(f"the fake source broke off {address}")
            await trio.lowlevel.checkpoint()
            offset += len(piece)
            self.bytes_given += len(piece)
            yield piece


class FakeCloud:
    """Instances in memory, ready at once. While `is_unreachable`, the list is an error: an empty one would be a lie."""

    def __init__(self, offers: Sequence[Offer] = ()) -> None:
        self._offers: Mapping[str, Offer] = {offer.name: offer for offer in offers}
        self._instances: dict[str, Instance] = {}
        self._by_token: dict[str, tuple[Instance, ...]] = {}
        self._serial = 0
        self.is_unreachable = False

    async def offers(self) -> Sequence[Offer]:
        return tuple(self._offers.values())

    async def provision(self, offer: str, count: int, token: str) -> Sequence[Instance]:
        if token in self._by_token:
            return [each for each in self._by_token[token] if each.native_id in self._instances]
        if offer not in self._offers:
            raise NotFound(f"no offer named {offer!r}; there are: {', '.join(self._offers) or 'none'}")
        in_use = sum(instance.offer == offer for instance in self._instances.values())
        if in_use + count > self._offers[offer].count_max:
            raise Refused(
                f"offer {offer!r}: {in_use} of {self._offers[offer].count_max} are in use, {count} more wanted"
            )
        made = tuple(self._make(offer) for _ in range(count))
        self._by_token[token] = made
        self._instances.update((instance.native_id, instance) for instance in made)
        return made

    async def release(self, native_ids: Sequence[str]) -> None:
        for native_id in native_ids:
            self._instances.pop(native_id, None)

    async def instances(self) -> Sequence[Instance]:
        if self.is_unreachable:
            raise PluginError("the fake cloud does not answer")
        return tuple(self._instances.values())

    def _make(self, offer: str) -> Instance:
        self._serial += 1
        return Instance(f"i-{self._serial}", offer, NodeName(f"cloud{self._serial}"), is_ready=True)
