"""The stall meter: on virtual time, and on the real loop with something that holds it up."""

import time

import trio
import trio.testing
from hypothesis import given, strategies as st

from hal_core.kernel.stalls import BOUNDS_S, INTERVAL_S, RECENT_S, StallMeter


def metrics(meter: StallMeter) -> dict[str, float]:
    lines = meter.render().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


@given(st.lists(st.floats(0, 10), min_size=1))
def test_the_histogram_adds_up(lateness):
    meter = StallMeter()
    for late_s in lateness:
        meter.record(late_s, 0.0)
    found = metrics(meter)
    buckets = [found[f'hal_loop_late_seconds_bucket{{le="{bound_s}"}}'] for bound_s in BOUNDS_S]
    assert buckets == [sum(late_s <= bound_s for late_s in lateness) for bound_s in BOUNDS_S]
    assert found['hal_loop_late_seconds_bucket{le="+Inf"}'] == found["hal_loop_late_seconds_count"] == len(lateness)
    assert meter.late_s_max == meter.recent_s_max == max(lateness)


def test_what_was_long_ago_is_forgotten_but_in_the_greatest_of_all():
    meter = StallMeter()
    meter.record(0.5, 0.0)
    meter.record(0.1, RECENT_S)
    assert meter.recent_s_max == 0.5
    meter.record(0.2, 2 * RECENT_S)
    assert meter.recent_s_max == 0.2
    meter.record(0.0, 9 * RECENT_S)
    assert (meter.recent_s_max, meter.late_s_max) == (0.0, 0.5)


async def test_on_virtual_time_nothing_is_late(autojump_clock):
    meter = StallMeter()
    with trio.move_on_after(100 * INTERVAL_S):
        await meter.run()
    assert sum(meter.counts) >= 99
    assert meter.late_s_max < 1e-6


async def test_whatever_holds_up_the_loop_is_seen():
    meter = StallMeter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meter.run)
        await trio.testing.wait_all_tasks_blocked()
        end_s = time.thread_time() + 0.1
        while time.thread_time() < end_s:
            pass
        while not sum(meter.counts):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert meter.late_s_max >= 0.08
    assert 0.1 <= meter.busy_s_max <= meter.late_s_max + 2 * INTERVAL_S
