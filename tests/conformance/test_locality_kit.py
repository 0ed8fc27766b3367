"""The check of locality providers finds what breaks the contract: one here is sound, each other has one fault."""

from __future__ import annotations

import contextlib
import hashlib
import os
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import attrs
import pytest
import trio

from hal_core.errors import NotFound, Refused
from hal_core.models.node import NodeName
from hal_core.planes import Replica
from hal_core.scaffold.locality import Example, ExampleOptions
from hal_core.testing import (
    FakeSource,
    LocalityTrial,
    check_data_source,
    check_data_source_broken_off,
    check_locality,
    check_locality_broken_off,
)

N1 = NodeName("n1")
CONTENT = bytes(range(256)) * 64
PIECE = 1024


class Sound(Example):
    """What `hal plugin new` begins, but it copies in pieces and gives way between them, as over a network. It goes on
    where a broken transfer ended, and knows the digests of what is in the store."""

    digests: ClassVar = {"example:some": hashlib.sha256(CONTENT).hexdigest(), "example:bad": "0" * 64}

    async def stage(self, dataset, nodes):
        async with self._lock:
            found = self._replicas(dataset)
            if not found:
                raise NotFound(f"{dataset} is not in the store")
            missing = [node for node in dict.fromkeys(nodes) if node not in {replica.node for replica in found}]
            for node in missing:
                await self.bring(dataset, node)
            return found[0].size_bytes * len(missing)

    async def bring(self, dataset, node):
        target = self._path(dataset, node)
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.part")
        await self.copy(dataset, half)
        if hashlib.sha256(half.read_bytes()).hexdigest() != self.digests[dataset]:
            half.unlink()
            raise Refused(f"{dataset} is not what its digest says")
        half.rename(target)

    async def copy(self, dataset, half):
        content = self._path(dataset, None).read_bytes()
        done = half.stat().st_size if half.exists() else 0
        with half.open("ab") as file:
            for begin in range(done, len(content), PIECE):
                file.write(content[begin : begin + PIECE])
                file.flush()
                await trio.lowlevel.checkpoint()


class KnowsEverything(Sound):
    def recognises(self, dataset):
        return ":" in dataset


class AnswersInAnyOrder(Sound):
    async def locate(self, datasets):
        return list(reversed(await super().locate(datasets)))


class DropsUnknown(Sound):
    async def locate(self, datasets):
        return [found for found in await super().locate(datasets) if found]


class CountsTwice(Sound):
    async def stage(self, dataset, nodes):
        moved = await super().stage(dataset, nodes)
        return moved or len(nodes)


class StagesWithoutALock(Sound):
    def __init__(self, options):
        super().__init__(options)
        self._lock = trio.Semaphore(8)

    async def bring(self, dataset, node):
        mine = NodeName(f"{node}.{id(trio.lowlevel.current_task())}")
        await super().bring(dataset, mine)
        self._path(dataset, node).parent.mkdir(exist_ok=True)
        self._path(dataset, mine).rename(self._path(dataset, node))


class ForgetsAtARestart(Sound):
    def __init__(self, options):
        super().__init__(options)
        for old in self._nodes.glob("*/*"):
            old.unlink()


class WritesInPlace(Sound):
    """And tidies up when it is cancelled: only who reads meanwhile sees it."""

    async def bring(self, dataset, node):
        target = self._path(dataset, node)
        target.parent.mkdir(parents=True, exist_ok=True)
        is_done = False
        try:
            await self.copy(dataset, target)
            is_done = hashlib.sha256(target.read_bytes()).hexdigest() == self.digests[dataset]
        finally:
            if not is_done:
                target.unlink()
        if not is_done:
            raise Refused(f"{dataset} is not what its digest says")


class LeavesHalf(Sound):
    def _replicas(self, dataset):
        halves = [path for path in self._nodes.glob("*/.some.part") if dataset == "example:some"]
        names = {replica.node for replica in super()._replicas(dataset)}
        more = [Replica(dataset, str(path), path.stat().st_size, NodeName(path.parent.name)) for path in halves]
        return super()._replicas(dataset) + [replica for replica in more if replica.node not in names]


class GoesOnAtTheWrongPlace(Sound):
    async def bring(self, dataset, node):
        self.digests = dict.fromkeys(self.digests, "")
        target = self._path(dataset, node)
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.part")
        half.touch()
        os.truncate(half, half.stat().st_size // PIECE * PIECE + (PIECE // 2 if half.stat().st_size else 0))
        await self.copy(dataset, half)
        if dataset == "example:bad":
            half.unlink()
            raise Refused(f"{dataset} is not what its digest says")
        half.rename(target)


class NeverBeginsAgain(Sound):
    async def copy(self, dataset, half):
        if half.exists():
            raise Refused(f"{dataset} is being staged by somebody")
        await super().copy(dataset, half)


class BelievesAnything(Sound):
    async def bring(self, dataset, node):
        self.digests = {**self.digests, dataset: hashlib.sha256(self._path(dataset, None).read_bytes()).hexdigest()}
        await super().bring(dataset, node)


class RefusesOnce(Sound):
    """The second try finds what the first left behind, and takes it."""

    async def bring(self, dataset, node):
        half = self._path(dataset, node).with_name(f".{self._path(dataset, node).name}.kept")
        if half.exists():
            half.rename(self._path(dataset, node))
            return
        try:
            await super().bring(dataset, node)
        except Refused:
            half.write_bytes(self._path(dataset, None).read_bytes())
            raise


class FailsToEvictNothing(Sound):
    async def evict(self, dataset, node):
        self._path(dataset, node).unlink()


class EvictsInWordsOnly(Sound):
    async def evict(self, dataset, node):
        if self._path(dataset, node).exists():
            self._path(dataset, node).with_name("evicted").touch()

    def _replicas(self, dataset):
        found = super()._replicas(dataset)
        return [each for each in found if not each.node or not (Path(each.path).with_name("evicted")).exists()]


class EvictsTheOrigin(Sound):
    async def evict(self, dataset, node):
        await super().evict(dataset, node)
        self._path(dataset, None).unlink(missing_ok=True)


class SaysNothing(Sound):
    async def stage(self, dataset, nodes):
        try:
            return await super().stage(dataset, nodes)
        except NotFound:
            raise NotFound("no such dataset") from None


class ShowsItsInsides(Sound):
    async def stage(self, dataset, nodes):
        if not self._replicas(dataset):
            raise FileNotFoundError(dataset)
        return await super().stage(dataset, nodes)


class CostsOnTheSpot(Sound):
    def cost(self, replica, node):
        return 1.0, 0.0


class BringsSomethingElse(Sound):
    async def bring(self, dataset, node):
        await super().bring(dataset, node)
        self._path(dataset, node).write_bytes(CONTENT[::-1])


FAULTS = {
    KnowsEverything: "is recognised",
    AnswersInAnyOrder: "was found|is nowhere",
    DropsUnknown: "4 questions, 2 answers",
    CountsTwice: "staged twice, moved twice",
    StagesWithoutALock: "three at once",
    ForgetsAtARestart: "a restart forgets",
    WritesInPlace: "steps into a transfer, .*/n1/some has [0-9]+ bytes that are not it",
    LeavesHalf: "differ in size|half a transfer",
    GoesOnAtTheWrongPlace: "is not what was there before|bytes that are not it",
    NeverBeginsAgain: "being staged by somebody",
    BelievesAnything: "example:bad was staged",
    RefusesOnce: "example:bad was staged",
    FailsToEvictNothing: "No such file",
    EvictsInWordsOnly: "was evicted, and .* can be read",
    EvictsTheOrigin: "the last copy of example:some was evicted",
    SaysNothing: "does not name the dataset",
    ShowsItsInsides: "example:gone",
    CostsOnTheSpot: "it still costs time",
    BringsSomethingElse: "is something else",
}


async def check(kind, directory):
    store = directory / "store"
    store.mkdir()
    for name in ("some", "bad"):
        (store / name).write_bytes(CONTENT)
    options = ExampleOptions(str(store), str(directory / "nodes"))
    trial = LocalityTrial("example:some", "example:gone", N1, ["example:bad"], CONTENT)
    await check_locality(lambda: kind(options), trial)
    await check_locality_broken_off(lambda: kind(options), attrs.evolve(trial, damaged=()))


class IgnoresOffsets(FakeSource):
    def reading(self, address, offset):
        return super().reading(address, 0)


class FailsPastTheEnd(FakeSource):
    @asynccontextmanager
    async def reading(self, address, offset):
        async with super().reading(address, offset) as pieces:
            if offset > len(self.contents[address]):
                raise OSError("416 Range Not Satisfiable")
            yield pieces


class EndsShort(FakeSource):
    """As a reader of HTTP does that does not count what comes."""

    async def _pieces(self, address, offset):
        async with aclosing(super()._pieces(address, offset)) as pieces:
            with contextlib.suppress(OSError):
                async for piece in pieces:
                    yield piece


class SharesAPosition(FakeSource):
    async def _pieces(self, address, offset):
        self.position = offset
        while piece := self.contents[address][self.position : self.position + self.piece_bytes]:
            await trio.lowlevel.checkpoint()
            self.position += len(piece)
            yield piece


class GoesOnAfterABreak(FakeSource):
    """What was cancelled leaves half of an answer on the connection, and the next one reads it."""

    rest = b""

    async def _pieces(self, address, offset):
        if self.rest:
            yield self.rest
        async with aclosing(super()._pieces(address, offset)) as pieces:
            async for piece in pieces:
                self.rest = piece
                await trio.lowlevel.checkpoint()
                self.rest = b""
                yield piece


class GivesNothingForNothing(FakeSource):
    @asynccontextmanager
    async def reading(self, address, offset):
        if address in self.contents:
            async with super().reading(address, offset) as pieces:
                yield pieces
        else:
            async with super().reading("fake:empty", 0) as pieces:
                yield pieces


SOURCE_FAULTS = {
    IgnoresOffsets: "wrong bytes from offset",
    FailsPastTheEnd: "416",
    EndsShort: "fake:short is damaged, and .* pass for all",
    SharesAPosition: "several read at once",
    GoesOnAfterABreak: "wrong bytes after a break",
    GivesNothingForNothing: "DID NOT RAISE",
}


async def check_source(kind):
    source = kind({"fake:some": CONTENT, "fake:short": CONTENT, "fake:empty": b""}, PIECE)
    source.breaks_after["fake:short"] = 3 * PIECE
    await check_data_source(source, "fake:some", CONTENT, "fake:gone", ["fake:short"])
    await check_data_source_broken_off(source, "fake:some", CONTENT)


async def test_a_sound_source_passes():
    await check_source(FakeSource)


@pytest.mark.parametrize("kind", SOURCE_FAULTS, ids=lambda kind: kind.__name__)
async def test_what_breaks_the_contract_of_sources_is_found(kind):
    with pytest.raises((AssertionError, OSError, pytest.fail.Exception), match=SOURCE_FAULTS[kind]):
        await check_source(kind)


async def test_a_sound_one_passes(tmp_path):
    await check(Sound, tmp_path)


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
async def test_what_breaks_the_contract_is_found(kind, tmp_path):
    with pytest.raises((AssertionError, Refused, OSError), match=FAULTS[kind]):
        await check(kind, tmp_path)
