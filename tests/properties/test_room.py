"""Packed room against plain columns: whatever is taken and given, both say the same of every node and every shape."""

from __future__ import annotations

import attrs
from hypothesis import HealthCheck, given, settings, strategies as st

from hal_core.models.job import Shape
from hal_core.models.masks import mask_of, members_of, numbers_of
from hal_core.models.packing import Packing
from hal_core.models.room import Room
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_core.testing.strategies import shapes, snapshots


def naive_count(columns: FakeColumns, number: int, shape: Shape, most: int | None = None) -> int:
    """How many elements fit, one after the other."""
    columns = FakeColumns.copy_of(columns)
    count = 0
    while count != most and columns.fits(number, shape):
        columns.take(number, shape)
        count += 1
    return count


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_room_counts_as_columns_do(data: st.DataObject) -> None:
    snapshot: FakeSnapshot = data.draw(snapshots())
    assert isinstance(snapshot.columns, FakeColumns)
    columns, room = FakeColumns.copy_of(snapshot.columns), snapshot.room()
    drawn = data.draw(st.lists(shapes(tuple(snapshot.partitions)), max_size=8))
    for shape in [attrs.evolve(each, also=()) for each in drawn]:  # of several components: test_mixed_jobs.py
        ask = room.packing.ask(shape)
        inside = snapshot.partition_nodes(shape.partition)
        most = 1 if ask.gpu_milli else None  # shares of a GPU are given one after the other
        counts = {number: naive_count(columns, number, shape, most) for number in inside}
        assert {number: room.count(number, ask) for number in inside} == counts
        fitting = {number for number, count in counts.items() if count}
        is_lone = len(columns.nodes) == 1 and shape.node_count > 1  # no gang is asked of a single node
        assert is_lone or set(members_of(room.fitting(ask))) == fitting
        chosen = room.choose(ask)
        assert bool(chosen) == (len(fitting) >= shape.node_count)
        assert set(chosen) <= fitting
        if chosen:
            assert len(chosen) == shape.node_count
            left = sorted(columns.free_cpus[number] for number in fitting)[: len(chosen)]
            is_by_cpus = ask.domains is None and not ask.has_gpus_near
            found = sorted(columns.free_cpus[number] for number in chosen)
            assert not is_by_cpus or found == left, "not the tightest"
        before = {number: room.row_of(number) for number in range(len(columns.nodes))}
        twin = room.copy()
        room.take(chosen, ask)
        for number in chosen:
            columns.take(number, shape)
        assert {number: twin.row_of(number) for number in before} == before, "a copy changed with the original"
        if chosen:
            emptied = room.copy()
            emptied.give(chosen, ask)
            kept = {number: emptied.row_of(number) for number in before}
            assert kept == before or ask.mixed or ask.gpu_milli, "what was taken and given back is not what it was"
    free = max((columns.free_cpus[n] for n in range(len(columns.nodes)) if columns.is_available[n]), default=0)
    assert room.most_cpus() == free


@given(st.sets(st.integers(0, 200)))
def test_masks_are_sets_of_numbers(numbers: set[int]) -> None:
    assert list(members_of(mask_of(numbers))) == numbers_of(mask_of(numbers)) == sorted(numbers)


def test_a_room_without_nodes_has_no_room() -> None:
    room = Room.of_rows(Packing((), {}), [])
    assert (room.most_cpus(), room.row_count) == (0, 0)
