"""The life of a session as its broker numbers, keeps and tells it: everything counted, and all of it bounded."""

from __future__ import annotations

import math
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from hypothesis import given, strategies as st
from msgspec import structs

from hal_core.client.session_directory import LIFE
from hal_core.models.session import DETAIL_LETTERS_MAX, SessionChange, SessionChangeKind
from hal_core.sessions.chronicle import Chronicle
from hal_core.sessions.life import AGAIN_S, BURST_COUNT, KEPT_MAX, SETTLE_S, Life
from hal_core.sessions.life_file import LifeFile
from hal_core.wire.sessions import Figures

FIGURES = Figures("5f2c09ab41de", 3, 0, 2, 100, 1, 4, 0, 0, 0.0)
CLOSED, JOINED, LEFT = SessionChangeKind.CLOSED, SessionChangeKind.WORKERS_JOINED, SessionChangeKind.WORKERS_LEFT
STEPS = st.lists(st.tuples(st.floats(0.0, 2000.0), st.sampled_from([JOINED, LEFT]), st.integers(1, 5)), max_size=200)


def lived(steps: list[tuple[float, SessionChangeKind, int]]) -> tuple[list[SessionChange], float]:
    """All that is numbered of it, each as soon as it is due, and how long it took."""
    life, changes, now_s = Life(), list[SessionChange](), 0.0
    for pause_s, kind, count in steps:
        then_s = now_s + pause_s
        while (due_s := life.due_s()) <= then_s:
            now_s = due_s
            taken = life.take(now_s, 1e9 + now_s, FIGURES)
            assert taken, "when it says that something is due, something is"
            changes += taken
        now_s = then_s
        life.note(kind, now_s, f"the {count}", count)
    life.note(CLOSED, now_s)
    changes += life.take(now_s, 1e9 + now_s, FIGURES, is_end=True)
    assert life.due_s() == math.inf
    assert len(life.kept) <= KEPT_MAX
    return changes, now_s


@given(STEPS)
def test_nothing_is_missing_in_what_is_numbered_and_it_is_bounded(steps):
    changes, took_s = lived(steps)
    assert [change.number for change in changes] == list(range(1, len(changes) + 1))
    counted = Counter[SessionChangeKind]()
    for change in changes:
        counted[change.kind] += change.count
    noted = Counter[SessionChangeKind]({CLOSED: 1})
    for _, kind, count in steps:
        noted[kind] += count
    assert counted == noted
    assert changes[-1].kind is CLOSED
    told = Counter(change.kind for change in changes)
    for kind in (JOINED, LEFT):
        assert told[kind] <= BURST_COUNT + took_s / AGAIN_S + 1 + 1, "the burst, the steady rate, the end"


def test_what_happens_at_once_is_one_change_with_the_time_of_the_last():
    life = Life()
    for number in range(64):
        life.note(JOINED, 10.0 + number / 1000)
    assert life.due_s() == 10.0 + SETTLE_S
    (change,) = life.take(10.0 + SETTLE_S, 1000.0, FIGURES)
    assert (change.number, change.count, change.worker_count, change.done_count) == (1, 64, 3, 100)
    assert change.time_s == 1000.0 - SETTLE_S + 0.063
    assert not life.take(1e6, 1e9, FIGURES)


def test_the_workers_are_counted_when_they_come_not_when_it_is_told():
    life = Life()
    life.note(JOINED, 0.0, worker_count=1)
    life.note(JOINED, 0.1, worker_count=2)
    (joined,) = life.take(0.2, 1e9, structs.replace(FIGURES, worker_count=0), is_end=True)
    assert (joined.count, joined.worker_count) == (2, 2)


def test_what_goes_on_for_ever_is_told_once_in_ten_minutes():
    changes, _ = lived([(1.0, LEFT, 1)] * 7200)
    assert BURST_COUNT + 10 <= len(changes) <= BURST_COUNT + 7200 / AGAIN_S + 2


def test_a_detail_is_cut():
    life = Life()
    life.note(CLOSED, 0.0, "x" * 1000)
    (change,) = life.take(0.0, 0.0, FIGURES, is_end=True)
    assert len(change.detail) == DETAIL_LETTERS_MAX


@given(st.integers(0, 5 * KEPT_MAX), st.integers(1, KEPT_MAX), st.binary(max_size=60))
def test_the_file_has_the_latest_whatever_a_crash_left_at_its_end(tmp_path_factory, count, at_once, torn):
    path = tmp_path_factory.mktemp("life") / LIFE
    life, file = Life(), LifeFile(path)
    assert file.read() == []
    for number in range(count):
        before = list(life.kept)
        life.note(LEFT, number * AGAIN_S * 2)
        taken = life.take(number * AGAIN_S * 2 + SETTLE_S, 1e9, FIGURES)
        if number % at_once == 0:
            file = LifeFile(path)  # Another broker.
            assert file.read() == before
        file.append(taken, list(life.kept))
    with path.open("ab") as end:
        end.write(torn.replace(b"\n", b"?"))
    again = LifeFile(path)
    assert again.read() == list(life.kept)
    assert path.stat().st_size < 3 * KEPT_MAX * 400
    life.note(CLOSED, 0.0)
    again.append(life.take(0.0, 1e9, FIGURES, is_end=True), list(life.kept))
    assert LifeFile(path).read() == list(life.kept), "and the next lines are whole"


async def test_a_broker_that_comes_after_another_goes_on_with_its_numbers_and_tells_what_is_not_known(tmp_path):
    first = Chronicle(str(tmp_path), lambda: FIGURES)
    assert not first.is_old
    first.note(JOINED)
    first.end(SessionChangeKind.PARKED, "")
    second = Chronicle(str(tmp_path), lambda: FIGURES)
    assert second.is_old
    second.end(CLOSED, "cancelled")
    assert [(each.number, each.kind) for each in await second.untold()] == [
        (1, JOINED),
        (2, SessionChangeKind.PARKED),
        (3, CLOSED),
    ]
    second.was_heard(2)
    second.was_heard(1)  # A late answer.
    assert [each.number for each in await second.untold()] == [3]


async def test_a_directory_that_is_gone_costs_the_record_not_the_session(tmp_path):
    chronicle = Chronicle(str(tmp_path / "removed"), lambda: FIGURES)
    chronicle.end(CLOSED, "")
    assert [each.kind for each in await chronicle.untold()] == [CLOSED]


async def test_it_numbers_by_itself_when_something_is_due(tmp_path, autojump_clock):
    chronicle = Chronicle("", lambda: FIGURES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chronicle.run)
        await trio.sleep(5.0)
        for _ in range(3):
            chronicle.note(JOINED)
        await trio.sleep(SETTLE_S / 2)
        assert not await chronicle.untold()
        await trio.sleep(SETTLE_S)
        assert [each.count for each in await chronicle.untold()] == [3]
        nursery.cancel_scope.cancel()


@contextmanager
def full_disk(left_bytes: int) -> Iterator[None]:
    """No file grows beyond that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_is_full_costs_the_record_until_there_is_room_again(tmp_path):
    first = Chronicle(str(tmp_path), lambda: FIGURES)
    first.end(JOINED, "")
    size_bytes = (tmp_path / LIFE).stat().st_size
    with full_disk(size_bytes + 10):
        first.end(LEFT, "")  # Torn after ten bytes.
    with full_disk(0):
        second = Chronicle(str(tmp_path), lambda: FIGURES)
        second.end(LEFT, "the second's")
    assert second.is_old
    second.end(CLOSED, "")
    kinds = [JOINED, LEFT, CLOSED]
    assert [each.kind for each in LifeFile(tmp_path / LIFE).read()] == kinds, "with what found no room"
    assert (tmp_path / LIFE).read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("bad", [b"\xff\xfe", b'{"number":1,"time_s":1.0,"kind":"opened","detail":"\xff"}', b"\0" * 50])
def test_a_line_that_is_no_text_is_left_out(tmp_path, bad):
    good = b'{"number":2,"time_s":1.0,"kind":"closed"}'
    (tmp_path / LIFE).write_bytes(bad + b"\n" + good + b"\n")
    assert [each.kind for each in LifeFile(tmp_path / LIFE).read()] == [CLOSED]


def test_a_file_that_cannot_be_read_is_none(tmp_path):
    (tmp_path / LIFE).mkdir()
    assert LifeFile(tmp_path / LIFE).read() == []
