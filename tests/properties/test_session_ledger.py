"""The ledger of a session against a model that keeps every task by itself, under any schedule of loss and trouble."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import WireError
from hal_core.models.ranges import members
from hal_core.sessions.ledger import ALONE_LOSSES_MAX, Ledger
from hal_core.sessions.pace import BATCH_BYTES_MAX
from hal_core.sessions.slices import Policy
from hal_core.wire.packed import pack
from hal_core.wire.sessions import Results

FUNCTIONS = {0: Policy(), 1: Policy(retries=2, tags=("odd",)), 2: Policy(priority=5, tags=("even", "odd"))}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(sorted(FUNCTIONS)), st.integers(1, 40)),
        st.tuples(st.just("join"), st.just(0), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("give back"), st.integers(0, 9), st.integers(0, 3)),
        st.tuples(st.just("work"), st.integers(0, 9), st.integers(1, 60)),
        st.tuples(st.just("cancel"), st.integers(0, 60), st.integers(1, 20)),
        st.tuples(st.just("kill"), st.integers(0, 60), st.integers(1, 5)),
        st.tuples(st.just("cancel odd"), st.integers(0, 60), st.integers(1, 20)),
        st.tuples(st.just("rank odd"), st.integers(-9, 9), st.just(0)),
        st.tuples(st.just("rank even"), st.integers(-9, 9), st.just(0)),
        st.tuples(st.just("repeat"), st.integers(0, 60), st.integers(1, 20)),
    ),
    max_size=60,
)


def item(task):
    return b"item %d" % task


class World:
    """Workers that do what they are given, in order; every second task of a retried function fails at first."""

    def __init__(self):
        self.ledger = Ledger()
        for number, policy in FUNCTIONS.items():
            self.ledger.define(number, policy)
        self.function_of = []
        self.workers = {}
        self.next_worker = 0
        self.settled = Counter()
        self.late = set()
        self.runs = Counter()
        self.has_losses = False

    def submit(self, function, count):
        first = len(self.function_of)
        self.function_of += [function] * count
        assert self.ledger.submit(first, function, pack([item(first + at) for at in range(count)])) == count

    def repeat(self, first, count):
        """The same tasks again, as a client does that lost its broker: nothing new."""
        count = min(count, len(self.function_of) - first)
        if count > 0:
            assert self.ledger.submit(first, 0, pack([item(first + at) for at in range(count)])) == 0

    def join(self):
        self.ledger.add_worker(self.next_worker, "abc"[self.next_worker % 3])
        self.workers[self.next_worker] = []
        self.next_worker += 1

    def lose(self, which):
        if self.workers:
            worker = sorted(self.workers)[which % len(self.workers)]
            had = self.workers.pop(worker)
            aside, killed = self.ledger.lose_worker(worker)
            self.settled.update(members(aside))
            self.settled.update(members(killed))
            assert set(members(aside)) | set(members(killed)) <= set(had)

    def leave(self, which):
        """Nothing that it had becomes a suspect."""
        if self.workers:
            worker = sorted(self.workers)[which % len(self.workers)]
            had = self.workers.pop(worker)
            killed = self.ledger.release_worker(worker)
            assert set(members(killed)) <= set(had)
            self.settled.update(members(killed))

    def give_back(self, which, kept_count):
        """It goes on with what it keeps, and gets no more until that is done."""
        if self.workers:
            worker = sorted(self.workers)[which % len(self.workers)]
            had = self.workers[worker]
            slices = self.ledger._held[worker].slices
            kept_count = min(kept_count, len(slices[0].items) if slices else 0)
            back = self.ledger.give_back(worker, kept_count)
            self.workers[worker], rest = had[:kept_count], had[kept_count:]
            assert set(members(back)) <= set(rest)
            self.settled.update(members(back))
            self.late = {*self.late, worker} if kept_count else self.late - {worker}

    def hand_out(self):
        for worker, tasks in self.ledger.batches():
            assert [item(each) for each in range(tasks.first, tasks.stop)] == list(tasks.items.items())
            assert {self.function_of[each] for each in range(tasks.first, tasks.stop)} == {tasks.function}
            assert len(tasks.items.data) <= BATCH_BYTES_MAX or len(tasks.items) == 1
            if tasks.is_suspect:
                assert len(tasks.items) == 1
                assert not self.workers[worker], "a suspect is alone"
            assert worker not in self.late, "who is at a task that takes long gets no other"
            self.workers[worker] += range(tasks.first, tasks.stop)

    def work(self, which, count):
        if not self.workers:
            return
        worker = sorted(self.workers)[which % len(self.workers)]
        held = self.workers[worker]
        # Results are of one batch: tasks that follow one another, of one function.
        first_batch = self.ledger._held[worker].slices[0].items if held else []
        tasks, self.workers[worker] = held[: min(count, len(first_batch))], held[min(count, len(first_batch)) :]
        if not tasks:
            return
        if not self.workers[worker]:
            self.late.discard(worker)
        failed = []
        for place, task in enumerate(tasks):
            self.runs[task] += 1
            if task % 2 and self.runs[task] <= 1 and self.function_of[task] == 1:
                failed.append(place)
        values = pack([b"result %d" % task for task in tasks])
        for results in self.ledger.results(worker, Results(tasks[0], tuple(failed), values, 1000 * len(tasks))):
            for at, value in enumerate(results.values.items()):
                assert value == b"result %d" % (results.first + at)
                self.settled[results.first + at] += 1

    def cancel(self, first, count, does_kill, tag=""):
        dropped, workers = self.ledger.cancel(((first, first + count),), does_kill, tag)
        assert set(members(dropped)) <= set(range(first, first + count))
        assert not tag or all(tag in FUNCTIONS[self.function_of[task]].tags for task in members(dropped))
        self.settled.update(members(dropped))
        for worker in workers:
            self.lose(sorted(self.workers).index(worker))

    def check(self):
        assert all(count == 1 for count in self.settled.values()), "settled twice"
        counts = self.ledger.counts
        running = sum(map(len, self.workers.values()))
        assert counts.running == running
        assert counts.accepted == len(self.function_of)
        assert counts.waiting + running + len(self.settled) == len(self.function_of), "a task is nowhere"
        assert counts.done + counts.failed + counts.dropped == len(self.settled)
        for tag, tally in self.ledger.tallies().items():
            own = {task for task, function in enumerate(self.function_of) if tag in FUNCTIONS[function].tags}
            assert (tally.taken, tally.left) == (len(own), len(own.difference(self.settled)))

    def finish(self):
        """A worker that never dies comes, and does the rest."""
        self.join()
        for _ in range(10_000):
            self.hand_out()
            if self.ledger.is_settled():
                return
            for which in range(len(self.workers)):
                self.work(which, 1000)
        raise AssertionError("tasks wait and nobody does them")


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_each_task_is_settled_once_whatever_happens(steps):
    world = World()
    for kind, which, count in steps:
        match kind:
            case "submit":
                world.submit(which, count)
            case "join":
                world.join()
            case "lose":
                world.lose(which)
            case "leave":
                world.leave(which)
            case "give back":
                world.give_back(which, count)
            case "work":
                world.work(which, count)
            case "cancel" | "kill":
                world.cancel(which, count, kind == "kill")
            case "cancel odd":
                world.cancel(which, count, False, "odd")
            case "rank odd" | "rank even":
                world.ledger.rank(kind.split()[1], which)
            case "repeat":
                world.repeat(which, count)
        world.hand_out()
        world.check()
    world.finish()
    world.check()
    assert set(world.settled) == set(range(len(world.function_of)))


def test_a_task_that_kills_its_workers_is_set_aside_and_no_other():
    world = World()
    world.submit(0, 20)
    poison = 7
    for _ in range(100):
        if world.ledger.is_settled():
            break
        if not world.workers:
            world.join()
        world.hand_out()
        (held,) = world.workers.values()
        if held and held[0] == poison:
            world.lose(0)
        else:
            world.work(0, 1)
        world.check()
    assert world.ledger.counts.dropped == 1
    assert world.settled[poison] == 1
    assert world.runs[poison] == 0
    assert world.ledger.counts.done == 19
    # While it had company it was not known which of them it was; alone it was tried so often.
    assert world.next_worker <= ALONE_LOSSES_MAX + 2


def test_a_worker_that_leaves_gives_its_tasks_back_together_and_blames_none():
    world = World()
    world.submit(0, 20)
    for _ in range(ALONE_LOSSES_MAX + 1):
        world.join()
        world.hand_out()
        world.leave(0)
        world.check()
    world.join()
    world.hand_out()
    assert world.ledger.counts.dropped == 0
    assert not any(each.is_suspect for each in world.ledger._held[world.next_worker - 1].slices)


def test_of_larger_priority_is_earlier():
    world = World()
    world.submit(0, 3)
    world.submit(2, 3)
    world.join()
    world.hand_out()
    assert world.workers[0][0] == 3


def test_a_rank_moves_what_waits_and_what_comes():
    world = World()
    world.submit(2, 3)
    world.submit(0, 3)
    world.submit(1, 3)
    world.ledger.rank("odd", -1)
    world.submit(1, 3)
    world.join()
    order = []
    while not world.ledger.is_settled():
        world.hand_out()
        order.append(world.workers[0][0])
        world.work(0, 1)
    first_of_each = list(dict.fromkeys(world.function_of[task] for task in order))
    assert first_of_each == [0, 2, 1], "within the same rank the order is that of their coming"


def test_what_a_worker_cannot_say_is_refused():
    world = World()
    world.submit(0, 3)
    world.join()
    world.hand_out()
    with pytest.raises(WireError, match="does not have"):
        world.ledger.results(0, Results(1, (), pack([b""]), 1))
    with pytest.raises(WireError, match="only 3"):
        world.ledger.submit(5, 0, pack([b""]))
    with pytest.raises(WireError, match="4 tasks are kept"):
        world.ledger.give_back(0, 4)
    with pytest.raises(WireError, match="not defined"):
        world.ledger.submit(3, 9, pack([b""]))
