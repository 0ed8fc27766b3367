"""A node's store: whatever sources, disk and kills do, jobs see whole and right files, within the budget."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hal_core.agent.reading import becoming, reader_of
from hal_core.agent.shelf import NoRoom, Shelf
from hal_core.agent.store import Store
from hal_core.errors import NotFound, Refused, UserError
from hal_core.models.dataset import DataFile, Dataset
from hal_core.testing import FakeSource
from tests.support.needs import need


def a_dataset(name: str, contents: dict[str, bytes], *replicas: str, **fields) -> Dataset:
    files = tuple(DataFile(path, len(each), hashlib.sha256(each).hexdigest()) for path, each in contents.items())
    return Dataset(name, "1", files, replicas or (f"fake:{name}",), **fields)


def read_with(source: FakeSource):
    return lambda dataset, address, offset: source.reading(address, offset)


def files_below(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file()}


CONTENTS = {"a": b"first" * 2000, "deep/b": b"second" * 3000, "empty": b""}
GENOME = a_dataset("genome", CONTENTS, "fake:near", "fake:far")
AT = {f"{place}/{path}": each for place in ("fake:near", "fake:far") for path, each in CONTENTS.items()}
TOTAL = sum(map(len, CONTENTS.values()))


# -- what may go -------------------------------------------------------------------------------------------------------

DIGESTS = {digest: size for size, digest in enumerate("abcdefgh", start=1)}
some_datasets = st.builds(
    lambda name, digests, is_pinned: Dataset(
        name, "1", tuple(DataFile(each, DIGESTS[each], each) for each in sorted(digests)), (), is_pinned=is_pinned
    ),
    st.sampled_from(["p", "q", "r", "s", "t"]),
    st.sets(st.sampled_from(sorted(DIGESTS)), min_size=1, max_size=4),
    st.booleans(),
)


@given(
    st.integers(5, 30),
    st.lists(st.tuples(st.integers(0, 3), st.lists(some_datasets, min_size=1, max_size=2), st.booleans()), max_size=30),
)
def test_no_budget_is_exceeded_and_nothing_goes_that_is_pinned_or_held(budget, steps):
    shelf, known = Shelf(budget), {}
    for time_s, (holder, datasets, does_release) in enumerate(steps):
        datasets = [known.setdefault(each.id, each) for each in datasets]  # a version never changes
        if does_release:
            shelf.release(str(holder))
        before = dict(shelf.copies)
        holders = {each: set(names) for each, names in shelf.holders.items()}
        try:
            going = shelf.admit(datasets, str(holder), float(time_s), 10**9)
        except Refused:
            assert shelf.copies == before
            assert shelf.holders == holders
            continue
        assert shelf.used_bytes <= budget
        for each in going:
            assert not before[each].is_pinned
            assert each not in holders
        assert set(shelf.copies) == (set(before) - set(going)) | {each.id for each in datasets}
        stayed = [each for each in before if each not in going and shelf.may_go(each)]
        assert all(before[gone].use_time_s <= before[each].use_time_s for gone in going for each in stayed)


def test_there_is_no_room_when_all_is_needed_and_too_little_disk():
    one, two = (a_dataset(name, {"x": name.encode() * 10}) for name in "pq")
    shelf = Shelf(15)
    shelf.admit([one], "1", 0.0, 100)
    with pytest.raises(NoRoom, match="10 are pinned or in use"):
        shelf.admit([two], "2", 1.0, 100)
    shelf.release("1")
    with pytest.raises(NoRoom, match="its disk has 0 left"):
        Shelf(15).admit([two], "2", 1.0, 0)
    assert shelf.admit([two], "2", 1.0, 0) == [one.id], "what goes makes room on the disk as well"
    with pytest.raises(Refused, match="have 30 bytes, and the store of this node holds 15"):
        shelf.admit([a_dataset("r", {"x": b"r" * 30})], "3", 2.0, 100)


# -- bringing ----------------------------------------------------------------------------------------------------------


async def test_a_dataset_is_brought_once_and_found_again(tmp_path):
    source = FakeSource(AT)
    store = Store(tmp_path, 10**6, read_with(source))
    brought = await store.bring("1.0.1", [GENOME])
    assert (brought.bytes_moved, brought.bytes_saved) == (TOTAL, 0)
    assert files_below(store.path_of(GENOME.id)) == CONTENTS
    assert (await store.bring("2.0.1", [GENOME])).bytes_saved == TOTAL
    again = Store(tmp_path, 10**6, read_with(source))
    assert again.inventory == (GENOME.id,)
    assert again.holders() == {"1.0.1", "2.0.1"}
    assert (await again.bring("3.0.1", [GENOME])).bytes_moved == 0
    assert source.bytes_given == TOTAL


async def test_many_jobs_wait_for_one_transfer(tmp_path):
    source = FakeSource(AT, piece_bytes=512)
    store = Store(tmp_path, 10**6, read_with(source))
    moved = []

    async def bring(holder):
        moved.append((await store.bring(holder, [GENOME])).bytes_moved)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(bring, f"{number}.0.1")
    assert source.bytes_given == sum(moved) == TOTAL
    assert files_below(store.path_of(GENOME.id)) == CONTENTS


async def test_what_broke_off_goes_on_where_it_was_at_another_replica(tmp_path, autojump_clock):
    source = FakeSource(AT, piece_bytes=500)
    source.breaks_after = {"fake:near/a": 4000}
    store = Store(tmp_path, 10**6, read_with(source))
    assert (await store.bring("1.0.1", [GENOME])).bytes_moved == TOTAL, "no byte came twice"
    assert source.asked[:2] == [("fake:near/a", 0), ("fake:far/a", 4000)]


async def test_a_corrupted_replica_is_left_for_another(tmp_path, autojump_clock):
    source = FakeSource(AT | {"fake:near/a": b"FIRST" * 2000})
    store = Store(tmp_path, 10**6, read_with(source))
    await store.bring("1.0.1", [GENOME])
    assert files_below(store.path_of(GENOME.id)) == CONTENTS


async def test_a_good_replica_is_not_blamed_for_what_came_before_from_a_bad_one(tmp_path, autojump_clock):
    source = FakeSource(AT | {"fake:near/a": b"FIRST" * 2000}, piece_bytes=500)
    source.breaks_after = {"fake:near/a": 4000}
    store = Store(tmp_path, 10**6, read_with(source))
    await store.bring("1.0.1", [GENOME])
    assert files_below(store.path_of(GENOME.id)) == CONTENTS
    assert source.asked[:3] == [("fake:near/a", 0), ("fake:far/a", 4000), ("fake:far/a", 0)]


async def test_all_that_went_wrong_is_told(tmp_path, autojump_clock):
    wrong = {"fake:near/a": b"FIRST" * 2000, "fake:far/a": CONTENTS["a"] + b"x"}
    store = Store(tmp_path, 10**6, read_with(FakeSource(AT | wrong)))
    with pytest.raises(Refused) as caught:
        await store.bring("1.0.1", [GENOME])
    assert "input genome@1: a could not be brought" in str(caught.value)
    assert "fake:near/a: it is corrupted" in str(caught.value)
    assert "fake:far/a: it is longer than the 10000 bytes" in str(caught.value)
    assert store.inventory == ()
    assert not store.path_of(GENOME.id).exists()
    assert store.holders() == set()


async def test_a_source_that_gives_nothing_is_left(tmp_path, autojump_clock):
    source = FakeSource(AT)

    @asynccontextmanager
    async def read(dataset, address, offset):
        async def nothing() -> AsyncGenerator[bytes, None]:
            await trio.sleep_forever()
            yield b""

        if address.startswith("fake:near"):
            async with aclosing(nothing()) as pieces:
                yield pieces
        else:
            async with source.reading(address, offset) as pieces:
                yield pieces

    store = Store(tmp_path, 10**6, read)
    await store.bring("1.0.1", [GENOME])
    assert files_below(store.path_of(GENOME.id)) == CONTENTS


async def test_a_full_disk_is_nobody_elses_fault(tmp_path):
    source = FakeSource(AT)
    store = Store(tmp_path, 10**6, read_with(source))
    partial = tmp_path / "partial" / GENOME.files[0].sha256
    partial.symlink_to("/dev/full")
    with pytest.raises(Refused, match="the disk of the store is full"):
        await store.bring("1.0.1", [GENOME])
    assert {address for address, _ in source.asked} == {"fake:near/a"}, "another replica would not help"
    partial.unlink(missing_ok=True)
    await store.bring("1.0.2", [GENOME])
    assert files_below(store.path_of(GENOME.id)) == CONTENTS


async def test_who_finds_no_room_waits_for_a_job_to_end(tmp_path):
    small, other = a_dataset("small", {"x": b"x" * 60}), a_dataset("other", {"y": b"y" * 60})
    source = FakeSource({"fake:small/x": b"x" * 60, "fake:other/y": b"y" * 60})
    store = Store(tmp_path, 100, read_with(source))
    await store.bring("1.0.1", [small])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.bring, "2.0.1", [other])
        await trio.testing.wait_all_tasks_blocked()
        assert store.inventory == (small.id,)
        store.release("1.0.1")
    assert store.inventory == (other.id,)
    assert not store.path_of(small.id).exists()


async def test_what_is_needed_is_not_dropped(tmp_path):
    store = Store(tmp_path, 10**6, read_with(FakeSource(AT)))
    await store.bring("1.0.1", [GENOME])
    assert not store.drop(GENOME.id)
    store.release("1.0.1")
    store.pin(GENOME.id, True)
    assert not Store(tmp_path, 10**6, read_with(FakeSource(AT))).drop(GENOME.id)
    store.pin(GENOME.id, False)
    assert store.drop(GENOME.id)
    assert store.hold("1.0.2", [GENOME.id]) == "its input genome@1 is not on this node any more"
    assert not list((tmp_path / "objects").iterdir())


async def test_what_was_written_by_half_when_the_machine_stopped_is_nothing(tmp_path):
    store = Store(tmp_path, 10**6, read_with(FakeSource(AT)))
    await store.bring("1.0.1", [GENOME])
    for room, name in (("manifests", "genome@1"), ("holds", "1.0.1")):
        whole = (tmp_path / room / name).read_bytes()
        (tmp_path / room / f".{name}.new").write_bytes(whole)
        (tmp_path / room / ".other.new").write_bytes(whole[:5])
    again = Store(tmp_path, 10**6, read_with(FakeSource(AT)))
    assert again.inventory == (GENOME.id,)
    assert list(again.shelf.copies) == [GENOME.id]
    assert again.holders() == {"1.0.1"}


async def test_a_disk_that_takes_nothing_ends_no_agent(tmp_path):
    store = Store(tmp_path, 10**6, read_with(FakeSource(AT)))
    await store.bring("1.0.1", [GENOME])
    (tmp_path / "holds" / "1.0.1").unlink()
    (tmp_path / "holds").rmdir()
    assert store.hold("1.0.1", [GENOME.id]) == "", "it was noted when they were brought"
    assert "cannot note" in store.hold("2.0.1", [GENOME.id])
    assert store.holders() == {"1.0.1"}


# -- faults ------------------------------------------------------------------------------------------------------------

FAULTS = ("none", "breaks", "refuses", "corrupted", "short", "long")


class Faulty:
    """Two replicas, each with a fault; the whole can be killed after so many pieces."""

    def __init__(self, faults: tuple[str, ...], at: int, kill_after: int | None) -> None:
        self._faults, self._at, self._kill_after = faults, at, kill_after
        self.scope = trio.CancelScope()

    @asynccontextmanager
    async def reading(self, dataset: Dataset, address: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        place, path = address.split("/", 1)
        fault = self._faults[["fake:near", "fake:far"].index(place)]
        if fault == "refuses":
            raise NotFound(f"{address}: 500")
        async with aclosing(self._pieces(fault, CONTENTS[path], offset)) as pieces:
            yield pieces

    async def _pieces(self, fault: str, content: bytes, offset: int) -> AsyncGenerator[bytes, None]:
        at = self._at % max(1, len(content))
        content = {
            "corrupted": content[:at] + b"?" + content[at + 1 :],
            "short": content[:at],
            "long": content + b"more",
        }.get(fault, content)
        while piece := content[offset : offset + 700]:
            if fault == "breaks" and offset + len(piece) > at:
                raise ConnectionResetError("broken off")
            if self._kill_after is not None:
                self._kill_after -= 1
                if self._kill_after < 0:
                    self.scope.cancel()
            await trio.lowlevel.checkpoint()
            offset += len(piece)
            yield piece


tries = st.tuples(
    st.tuples(st.sampled_from(FAULTS), st.sampled_from(FAULTS)),
    st.integers(0, 20_000),
    st.none() | st.integers(0, 40),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(tries, min_size=1, max_size=4))
def test_whatever_fails_no_job_sees_wrong_or_partial_data(faults):
    """Each try is an agent that may be killed; the next one begins on the same directory."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        for number, (kinds, at, kill_after) in enumerate(faults):
            trio.run(
                _attempt,
                path,
                number,
                Faulty(kinds, at, kill_after),
                clock=trio.testing.MockClock(autojump_threshold=0),
            )
        done = trio.run(
            _attempt, path, 99, Faulty(("none", "none"), 0, None), clock=trio.testing.MockClock(autojump_threshold=0)
        )
        assert done, "nothing that had come before stands in the way"


async def _attempt(path: Path, number: int, faulty: Faulty) -> bool:
    store = Store(path, TOTAL, faulty.reading)
    for each in store.holders():
        store.release(each)
    was_here = store.inventory
    is_done = False
    with faulty.scope:
        try:
            await store.bring(f"{number}.0.1", [GENOME])
            is_done = True
        except UserError:
            assert "none" not in faulty._faults, "there was a good replica"
    on_disk = [each.stat().st_size for room in ("objects", "partial") for each in (path / room).iterdir()]
    assert sum(on_disk) <= TOTAL
    for each in (path / "objects").iterdir():
        assert hashlib.sha256(each.read_bytes()).hexdigest() == each.name
    assert store.path_of(GENOME.id).exists() == bool(store.inventory)
    if store.inventory:
        assert files_below(store.path_of(GENOME.id)) == CONTENTS
    assert is_done <= (store.inventory == (GENOME.id,))
    assert set(was_here) <= set(store.inventory)
    return is_done


# -- directories -------------------------------------------------------------------------------------------------------


async def test_a_directory_is_read_from_any_place(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(256)))
    read = reader_of({})
    for offset in (0, 100, 256, 300):
        async with read(GENOME, str(tmp_path / "x"), offset) as pieces:
            assert b"".join([piece async for piece in pieces]) == bytes(range(256))[offset:]
    with pytest.raises(NotFound, match="No such file"):
        async with read(GENOME, str(tmp_path / "y"), 0) as pieces:
            assert [piece async for piece in pieces] == []
    with pytest.raises(NotFound, match="no locality provider on this node reads 'https://h/x'"):
        async with read(GENOME, "https://h/x", 0):
            pass


@pytest.mark.parametrize(
    ("uid", "gid", "told"), [(65534, 0, "nobody is not in group 0"), (54_321, 54_321, "uid 54321 is not known")]
)
def test_groups_are_those_of_this_node_whoever_said_another(uid, gid, told):
    need("" if os.geteuid() == 0 else "becoming another user needs root")
    assert becoming(65534, 65534, "x")["user"] == 65534
    with pytest.raises(Refused, match=f"/data: .*{told}"):
        becoming(uid, gid, "/data")


async def test_what_its_owner_cannot_read_is_not_published(tmp_path):
    need("" if os.geteuid() == 0 else "becoming another user needs root")
    (tmp_path / "secret").write_text("of root")
    (tmp_path / "secret").chmod(0o600)
    theirs = attrs.evolve(GENOME, owner="nobody", uid=65534, gid=65534)
    with pytest.raises(NotFound, match="Permission denied"):
        async with reader_of({})(theirs, str(tmp_path / "secret"), 0) as pieces:
            assert [piece async for piece in pieces] == []
