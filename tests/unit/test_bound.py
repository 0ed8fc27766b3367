"""A bound on what passes over a link: obeyed by the sum, and shared evenly by whoever goes on at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from hal_core.agent.bound import IDLE_S, TURN_BYTES, UNBOUND, Bound
from hal_core.agent.store import Store
from hal_core.testing import FakeSource
from tests.unit.test_store import AT, GENOME, TOTAL

RATE = 1000.0


def in_virtual_time(main) -> None:
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=10), min_size=1, max_size=6))
def test_the_sum_of_all_transfers_stays_below_it_at_every_moment(transfers):
    bound, passed = Bound(RATE), []

    async def move(pieces: list[int]) -> None:
        for piece in pieces:
            await bound.passed(piece)
            passed.append((trio.current_time(), piece))

    async def main() -> None:
        begin_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for pieces in transfers:
                nursery.start_soon(move, pieces)
        total = 0
        for time_s, piece in passed:
            total += piece
            assert total <= RATE * (time_s - begin_s + IDLE_S) + 1e-6

    in_virtual_time(main)


def test_those_who_go_on_at_once_have_equal_parts_whoever_came_first():
    bound, moved = Bound(RATE), Counter()

    async def move(name: str) -> None:
        while True:
            await bound.passed(100)
            moved[name] += 100

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(move, "first")
            await trio.sleep(10)
            before = moved["first"]
            for name in ("second", "third"):
                nursery.start_soon(move, name)
            await trio.sleep(30)
            nursery.cancel_scope.cancel()
        parts = [moved["first"] - before, moved["second"], moved["third"]]
        assert max(parts) - min(parts) <= 200, parts

    in_virtual_time(main)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(TURN_BYTES, 16 * TURN_BYTES), min_size=2, max_size=4))
def test_none_has_more_than_twice_what_another_has_however_large_its_pieces_are(pieces):
    assert_even(pieces, 2)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.sampled_from([1, 4, 16]), min_size=2, max_size=4))
def test_pipes_peers_and_web_servers_have_the_same(turns):
    """A file of a file system comes in pieces of 64 KiB, of another node in those of 256, of a web server of a MiB."""
    assert_even([count * TURN_BYTES for count in turns], 1)


def assert_even(pieces: list[int], ratio_max: int) -> None:
    bound, moved = Bound(4.0 * TURN_BYTES), [0] * len(pieces)

    async def move(at: int) -> None:
        while True:
            await bound.passed(pieces[at])
            moved[at] += pieces[at]

    async def main() -> None:
        with trio.move_on_after(30.0 * len(pieces)):
            async with trio.open_nursery() as nursery:
                for at in range(len(pieces)):
                    nursery.start_soon(move, at)
        assert max(moved) <= ratio_max * min(moved) + 2 * max(pieces), (pieces, moved)

    in_virtual_time(main)


def test_no_bound_makes_nobody_wait():
    async def main() -> None:
        begin_s = trio.current_time()
        await UNBOUND.passed(1 << 60)
        assert trio.current_time() == begin_s

    in_virtual_time(main)


def test_a_store_obeys_it_whatever_it_brings_from_where(tmp_path: Path):
    source = FakeSource(AT)
    rate = TOTAL / 100.0
    store = Store(tmp_path, 10**6, lambda _, address, offset: source.reading(address, offset), bytes_per_s=rate)

    async def main() -> None:
        begin_s = trio.current_time()
        await store.bring("1.0.1", [GENOME])
        assert trio.current_time() - begin_s >= TOTAL / rate - IDLE_S

    in_virtual_time(main)
