"""Steps of plugins that hold up the loop are broken off, whoever began them, whatever they catch; nothing else is."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import trio

from hal_core.kernel.step_watch import ALLOWANCE_S, ALLOWANCE_S_MAX, STILL_S, Charge, HeldUp, _Look, watching

LONG_S = 60.0
"""Nothing here takes so long, unless it fails."""
SHORT_S = 0.02


def compute() -> None:
    end_s = time.thread_time() + LONG_S
    while time.thread_time() < end_s:
        pass


def block() -> None:
    threading.Event().wait(LONG_S)


def catch_all() -> None:
    while True:
        with suppress(Exception):
            block()


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """A timer of somebody else's, which must be there afterwards. A garbage collection may take SHORT_S."""
    before = signal.setitimer(signal.ITIMER_REAL, 1000.0)
    gc.disable()
    yield
    gc.enable()
    left_s = signal.setitimer(signal.ITIMER_REAL, *before)[0]
    assert 0.0 < left_s <= 1000.0


async def call(charge: Charge, act: Callable[[], object]) -> None:
    with charge.calling():
        await trio.lowlevel.checkpoint()
        act()


@pytest.mark.parametrize("act", [compute, block, catch_all])
async def test_who_holds_up_the_loop_is_broken_off(act: Callable[[], object]) -> None:
    charge = Charge(SHORT_S)
    with watching(), pytest.raises(HeldUp, match=r"held up HAL for more than 0\.02 s"):
        await call(charge, act)
    assert charge.allowance_s == 2 * SHORT_S, "the next time it is given more"


async def test_also_before_it_has_waited_for_the_first_time() -> None:
    with watching(), pytest.raises(HeldUp), Charge(SHORT_S).calling():
        block()


async def test_also_in_a_task_that_it_began() -> None:
    with watching(), pytest.raises(BaseExceptionGroup) as raised, Charge(SHORT_S).calling():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_of_no_charge, block)
    assert raised.value.subgroup(HeldUp) is not None


async def call_of_no_charge(act: Callable[[], object]) -> None:
    await trio.lowlevel.checkpoint()
    act()


async def test_what_waits_as_one_should_is_left_alone_however_long() -> None:
    charge = Charge(SHORT_S)
    with watching():
        await call(charge, lambda: None)
        with charge.calling():
            for _ in range(20):
                await trio.to_thread.run_sync(time.sleep, SHORT_S / 4)
    assert charge.allowance_s == SHORT_S


async def test_what_is_not_a_plugins_is_left_alone() -> None:
    """Neither what its caller does afterwards, nor another task meanwhile."""

    def a_while() -> None:
        end_s = time.thread_time() + 4 * SHORT_S
        while time.thread_time() < end_s:
            pass

    with watching():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, Charge(SHORT_S), lambda: None)
            nursery.start_soon(call_of_no_charge, a_while)
        with Charge(SHORT_S).calling():
            await trio.lowlevel.checkpoint()
        a_while()


async def test_its_time_is_counted() -> None:
    def until_the_clock_has_moved() -> None:
        """Some systems count a thread's time in steps."""
        begin_s = time.thread_time()
        while time.thread_time() == begin_s:
            pass

    charge = Charge(LONG_S)
    with watching():
        await call(charge, until_the_clock_has_moved)
    assert charge.busy_s > 0.0


async def test_a_signal_that_is_not_ours_goes_to_whom_it_is_for() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    try:
        with watching():
            signal.raise_signal(signal.SIGALRM)
        assert rung == [signal.SIGALRM]
        signal.raise_signal(signal.SIGALRM)
        assert len(rung) == 2, "and the handler is back"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_outside_of_the_main_thread_nobody_is_broken_off() -> None:
    async def tried() -> None:
        with watching(), Charge(SHORT_S).calling():
            threading.Event().wait(2 * SHORT_S)

    thread = threading.Thread(target=trio.run, args=(tried,))
    thread.start()
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_the_allowance_grows_to_a_bound() -> None:
    charge = Charge()
    for _ in range(10):
        charge.overdrawn()
    assert ALLOWANCE_S < charge.allowance_s == ALLOWANCE_S_MAX


def test_who_waits_for_a_processor_or_moves_does_not_block() -> None:
    first = _Look((1, 2), time_s=0.0, busy_s=0.0, waited_s=0.0)
    late_s = 2 * STILL_S
    assert _Look((1, 2), late_s, 0.0, 0.0).is_still(first)
    assert not _Look((1, 2), late_s, late_s, 0.0).is_still(first), "it computed"
    assert not _Look((1, 2), late_s, 0.0, late_s).is_still(first), "it had no processor"
    assert not _Look((1, 3), late_s, 0.0, 0.0).is_still(first), "it is somewhere else"


async def test_who_begins_may_take_longer_but_not_for_ever() -> None:
    charge = Charge(SHORT_S, is_beginning=True, beginning_allowance_s=10 * SHORT_S)
    with watching(), pytest.raises(HeldUp, match=r"held up HAL for more than 0\.2 s"):
        await call(charge, block)
