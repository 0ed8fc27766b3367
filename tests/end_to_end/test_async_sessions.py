"""Sessions from trio and asyncio, with a real broker: order, errors, cancellation, and a loop that is never held up."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import trio

from hal_core.client import AsyncClient
from hal_core.client.event_loops import in_thread
from hal_core.errors import InvalidInput, SessionError
from tests.support import tasks
from tests.support.gate import Gate

DEADLINE_S = 60


def in_trio(function):
    async def within():
        with trio.fail_after(DEADLINE_S):
            return await function()

    return trio.run(within)


def in_asyncio(function):
    return asyncio.run(asyncio.wait_for(function(), DEADLINE_S))


@pytest.fixture(params=[in_trio, in_asyncio])
def run(request):
    """Run an async function in one of the two; none may take longer than the deadline."""
    return request.param


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path)
    yield made
    made.open()


def opened(**options):
    return AsyncClient().session(local=True, **options)


def test_calls_and_maps_give_results_and_errors(run):
    async def use():
        async with opened(workers=2) as s:
            assert await s.call(tasks.quotient, 9, divisor=2) == 4
            assert [each async for each in s.map(tasks.square, range(5000))] == [n * n for n in range(5000)]
            come = [each async for each in s.map(tasks.square, range(5000), in_order=False)]
            assert sorted(come) == [n * n for n in range(5000)]
            assert [each async for each in s.map(tasks.quotient, [9, 8], [3, 2])] == [3, 4]
            assert [end.exit_code async for end in s.run([["true"], ["false"]])] == [0, 1]
            with pytest.raises(ZeroDivisionError):
                await s.call(tasks.quotient, 1, 0)
            with pytest.raises(ZeroDivisionError):
                async for _ in s.map(tasks.quotient, [1, 2], [1, 0]):
                    pass
            with pytest.raises(InvalidInput, match="retries"):
                s.using(retries=-1)
            figures = await s.figures()
            assert figures.failed_count == 2
        with pytest.raises(SessionError, match="ended"):
            await s.call(tasks.square, 3)

    run(use)


def test_an_endless_source_is_taken_as_results_are(run):
    async def use():
        async with opened(workers=2) as s:
            async with contextlib.aclosing(s.map(tasks.square, iter(int, 1))) as endless:
                seen = 0
                async for each in endless:
                    assert each == 0
                    seen += 1
                    if seen == 60_000:
                        break
            await s.cancel()

    run(use)


def test_tags_move_cancel_and_count_tasks(run):
    async def use():
        async with opened(workers=1) as s:
            tagged = s.using(tags="sweep")
            assert [each async for each in tagged.map(tasks.square, range(10))] == [n * n for n in range(10)]
            await s.set_priority(5, "sweep")
            figures = await s.figures()
            assert (figures.tags["sweep"].done_count, figures.tags["sweep"].left_count) == (10, 0)

    run(use)


def test_a_cancelled_caller_ends_the_session_with_what_runs(gate):
    async def use():
        async with trio.open_nursery() as nursery:

            async def work():
                async with opened(workers=1) as s:
                    await s.call(tasks.wait_at, gate.address)

            nursery.start_soon(work)
            await trio.to_thread.run_sync(gate.wait_for_one)
            nursery.cancel_scope.cancel()

    in_trio(use)
    assert gate.wait_until_left()


def test_a_session_that_is_left_while_it_drains_ends_at_once(run, gate):
    """Nobody is in the block any more, and the task at the gate would last for ever."""

    async def use(leave_soon):
        async with opened(workers=1) as s:
            s._session.submit(tasks.wait_at, gate.address)
            await in_thread(gate.wait_for_one)
            leave_soon()

    async def use_and_leave():
        if run is in_trio:
            with trio.CancelScope() as scope:
                await use(lambda: setattr(scope, "deadline", trio.current_time() + 1))
        else:
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(None) as limit:
                    await use(lambda: limit.reschedule(asyncio.get_running_loop().time() + 1))

    run(use_and_leave)
    assert gate.wait_until_left()


def test_the_loop_goes_on_while_a_task_runs(run, gate):
    """Two calls wait at the gate at the same time; the second is made while the first is there."""

    async def use():
        async with opened(workers=2) as s:
            if run is in_trio:
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(s.call, tasks.wait_at, gate.address)
                        await in_thread(gate.wait_for_one)
                    gate.open()
            else:
                calls = []
                for _ in range(2):
                    calls.append(asyncio.create_task(s.call(tasks.wait_at, gate.address)))
                    await in_thread(gate.wait_for_one)
                gate.open()
                assert len(set(await asyncio.gather(*calls))) == 2

    run(use)
