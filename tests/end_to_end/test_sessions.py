"""Sessions with a real broker and real workers on this machine: order, errors, loss of workers, ends."""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError, Executor

import pytest

from hal_core.client import session
from hal_core.client.session_policy import policy_from
from hal_core.errors import InvalidInput, SessionError, TaskFailed
from tests.support import tasks
from tests.support.gate import Gate


@pytest.fixture(scope="module")
def shared():
    with session(workers=2, server="local") as opened:
        yield opened


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path)
    yield made
    made.open()


def test_results_come_in_the_order_of_the_items(shared):
    assert list(shared.map(tasks.square, range(50_000))) == [number * number for number in range(50_000)]


def test_results_can_be_indexed_iterated_again_and_taken_one_by_one(shared):
    results = shared.map(tasks.square, range(10))
    assert next(results) == 0
    assert next(results) == 1
    assert results[-1] == 81
    assert len(results) == 10
    assert list(results) == list(results)
    with pytest.raises(IndexError, match="of 10"):
        results[10]


def test_several_iterables_are_several_arguments(shared):
    assert list(shared.map(tasks.quotient, [9, 8, 7], [3, 2])) == [3, 4]


def test_no_items_are_no_results(shared):
    assert list(shared.map(tasks.square, [])) == []


def test_a_lambda_and_what_it_holds_travel(shared):
    offset = 5
    assert list(shared.map(lambda number: number + offset, range(3))) == [5, 6, 7]


def test_a_stream_takes_items_lazily_and_ends_with_them(shared):
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    stream = shared.stream(tasks.square, endless())
    assert [next(stream) for _ in range(1000)] == [number * number for number in range(1000)]
    assert sorted(shared.stream(tasks.square, range(3000), in_order=False)) == [n * n for n in range(3000)]


def test_a_call_is_a_future(shared):
    future = shared.submit(tasks.quotient, 9, divisor=2)
    assert future.result(timeout=30) == 4
    futures = {shared.submit(tasks.square, number): number for number in range(500)}
    assert {futures[each]: each.result() for each in shared.as_completed(futures)} == {n: n * n for n in range(500)}
    assert isinstance(shared, Executor)


def test_an_error_is_that_of_the_task_and_shows_where(shared):
    results = shared.map(tasks.quotient, [1, 2, 3], [1, 0, 1])
    assert results[0] == 1
    with pytest.raises(ZeroDivisionError) as caught:
        results[1]
    assert "tasks.py" in str(caught.value.__cause__)
    assert "return number // divisor" in str(caught.value.__cause__)
    assert results[2] == 3


def test_an_error_that_cannot_travel_is_told_in_words(shared):
    def fail():
        class Odd(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        raise Odd(1, 2)

    with pytest.raises(TaskFailed, match="Odd: 1 and 2"):
        shared.submit(fail).result(timeout=30)


def test_a_result_that_cannot_travel_is_an_error_of_its_task(shared):
    with pytest.raises(TypeError, match="pickle"):
        shared.submit(threading.Lock).result(timeout=30)
    assert shared.submit(tasks.square, 3).result(timeout=30) == 9


def test_sys_exit_in_a_task_is_its_error_and_the_worker_stays(shared):
    with pytest.raises(SystemExit):
        shared.submit(exit, 3).result(timeout=30)


def test_large_items_and_results_travel(shared):
    large = os.urandom(3 << 20)
    assert list(shared.map(bytes, [large] * 5)) == [large] * 5


def test_tasks_that_fail_are_tried_again_as_often_as_was_said(shared, tmp_path):
    patient = shared.using(retries=2)
    items = [(number, number % 4, str(tmp_path)) for number in range(40)]
    results = patient.map(tasks.fail_at_first, items)
    for number in range(40):
        if number % 4 < 3:
            assert results[number] == number
        else:
            with pytest.raises(RuntimeError, match=f"try 3 of {number}"):
                results[number]


def test_a_policy_that_cannot_be_is_refused(shared):
    with pytest.raises(InvalidInput, match=r"retries: -1 is not"):
        shared.using(retries=-1)
    with pytest.raises(
        InvalidInput, match=r"^workers: '2' is not a whole number from 0 on\nelastic: -1 is not a whole"
    ):
        session(workers="2", elastic=-1)
    with pytest.raises(InvalidInput, match=r"tags: 5 is neither a tag nor a list of them"):
        policy_from(0, 0, 0.0, 5)
    with pytest.raises(InvalidInput, match=r"workers: 0 is too few"):
        session(workers=0, server="local")


def test_a_worker_that_dies_is_replaced_and_its_tasks_are_done(tmp_path):
    items = [(number, str(tmp_path)) for number in range(20)]
    with session(workers=2, server="local") as opened:
        assert list(opened.map(tasks.die_once, items)) == list(range(20))
        assert opened.figures().lost_count >= 20


def test_a_task_that_kills_its_workers_is_set_aside_and_the_others_are_done():
    with session(workers=2, server="local") as opened:
        results = opened.map(tasks.die_at, [(number, 13) for number in range(100)])
        with pytest.raises(TaskFailed, match="set aside"):
            results[13]
        assert [results[at] for at in range(100) if at != 13] == [at for at in range(100) if at != 13]


def test_workers_that_all_die_at_once_end_the_session():
    with session(workers=1, server="local") as opened:
        futures = [opened.submit(tasks.die, number) for number in range(10)]
        with pytest.raises(SessionError, match="in a row died before their first result"):
            futures[-1].result(timeout=60)


def test_what_waits_behind_a_task_that_takes_long_is_done_by_others(gate):
    def pass_or_wait(address):
        return tasks.wait_at(address) if address else 0

    with session(workers=2, server="local") as opened:
        list(opened.map(pass_or_wait, [""] * 2000))  # Known to be short, they travel together.
        stream = opened.stream(pass_or_wait, [gate.address, *[""] * 300], in_order=False)
        assert [next(stream) for _ in range(300)] == [0] * 300
        pid = gate.wait_for_one()
        gate.open()
        assert list(stream) == [pid]


def test_waiting_tasks_can_be_dropped_and_running_ones_ended(gate):
    with session(workers=1, server="local") as opened:
        running = opened.submit(tasks.wait_at, gate.address)
        gate.wait_for_one()
        waiting = [opened.submit(tasks.square, number) for number in range(1000)]
        opened.cancel()
        # One or two may be with the worker already; they are done when it is free.
        assert sum(isinstance(each.exception(timeout=30), CancelledError) for each in waiting[2:]) == 998
        opened.cancel(running=True)
        with pytest.raises(CancelledError):
            running.result(timeout=30)
        assert opened.submit(tasks.square, 3).result(timeout=30) == 9


def test_a_future_that_is_cancelled_takes_its_task_back(gate, tmp_path):
    with session(workers=1, server="local") as opened:
        running = opened.submit(tasks.wait_at, gate.address)
        pid = gate.wait_for_one()
        futures = [opened.submit(tasks.mark, (number, str(tmp_path))) for number in range(500)]
        assert futures[400].cancel()
        assert futures[499].cancel()
        assert futures[499].cancel(), "once more is no harm"
        gate.open()
        assert running.result(timeout=60) == pid
        assert [each.result(timeout=60) for each in futures if not each.cancelled()] == [
            number for number in range(500) if number not in (400, 499)
        ]
        assert opened.figures().done_count == 499
    assert not (tmp_path / "400").exists()


def test_tags_are_cancelled_and_moved_alone(gate, tmp_path):
    order = tmp_path / "order"
    with session(workers=1, server="local") as opened:
        opened.submit(tasks.wait_at, gate.address)
        gate.wait_for_one()
        common, slow, fast = opened, opened.using(tags="slow"), opened.using(tags=["fast", "all"])
        first = [common.submit(tasks.write_down, str(order), "common") for _ in range(3)]
        dropped = [slow.submit(tasks.write_down, str(order), "slow") for _ in range(3)]
        last = [fast.submit(tasks.write_down, str(order), "fast") for _ in range(3)]
        opened.cancel(tag="slow")
        opened.set_priority(5, tag="fast")
        assert opened.figures().tags["slow"].dropped_count == 3
        assert opened.figures().tags["all"].left_count == 3
        later = fast.submit(tasks.write_down, str(order), "later")
        gate.open()
        for future in [*first, *last, later]:
            future.result(timeout=60)
        assert all(isinstance(each.exception(timeout=60), CancelledError) for each in dropped)
    # The first one may have been with the worker already, behind the task at the gate.
    written = order.read_text().split()
    written.remove("common")
    assert written == ["fast"] * 3 + ["later"] + ["common"] * 2


def test_a_task_beyond_its_limit_fails_and_the_others_are_done(tmp_path):
    with session(workers=2, server="local") as opened:
        limited = opened.using(time_limit_s=0.5)
        results = limited.map(tasks.last, [0, 0, 3600, 0, 0])
        with pytest.raises(TaskFailed, match=r"longer than its limit of 0\.5 s"):
            results[2]
        assert [results[place] for place in (0, 1, 3, 4)] == [0] * 4
        patient = opened.using(time_limit_s=0.5, retries=1)
        with pytest.raises(TaskFailed, match="longer than its limit"):
            patient.submit(tasks.last, 3600).result(timeout=60)
        assert opened.figures().retried_count == 1


def test_a_killed_worker_is_noticed_while_it_works(gate):
    with session(workers=1, server="local") as opened:
        future = opened.submit(tasks.wait_at, gate.address)
        first = gate.wait_for_one()
        os.kill(first, 9)
        second = gate.wait_for_one()
        assert second != first
        gate.open()
        assert future.result(timeout=30) == second


def test_after_an_error_nobody_waits_for_what_is_left(gate):
    futures = []

    def use_and_fail():
        with session(workers=1, server="local") as opened:
            futures.append(opened.submit(tasks.wait_at, gate.address))
            gate.wait_for_one()
            raise KeyError

    with pytest.raises(KeyError):
        use_and_fail()
    with pytest.raises(SessionError):
        futures[0].result(timeout=30)
    assert gate.wait_until_left(), "the worker of a session that was left is ended"


def test_nothing_can_be_submitted_after_the_end():
    with session(workers=1, server="local") as opened:
        pids = {opened.submit(os.getpid).result(timeout=30)}
    with pytest.raises(SessionError, match="ended"):
        opened.submit(tasks.square, 3).result(timeout=30)
    assert os.getpid() not in pids


def test_several_threads_may_use_one_session(shared):
    found = {}

    def use(number):
        found[number] = list(shared.map(tasks.square, range(number * 1000, number * 1000 + 1000)))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [x * x for x in range(n * 1000, n * 1000 + 1000)] for n in range(4)}
