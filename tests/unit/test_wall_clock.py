"""Somebody sets the clock: it is noticed, and how long something lasted is not counted by it."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hal_core.kernel.wall_clock import STEP_S_MIN, WallClock

steps = st.integers(-(10**7), 10**7).map(lambda tenths: tenths / 8)


@given(st.lists(st.tuples(st.integers(0, 10**6), steps | st.just(0.0)), max_size=20))
def test_every_step_is_noticed_once_and_none_is_made_up(moves: list[tuple[int, float]]) -> None:
    steady_s, set_s = 1000.0, 1_700_000_000.0
    clock = WallClock(lambda: steady_s + set_s, lambda: steady_s)
    for passed_s, step_s in moves:
        steady_s, set_s = steady_s + passed_s, set_s + step_s
        now_s, noticed_s = clock.look()
        assert now_s == steady_s + set_s
        assert noticed_s == step_s
        assert clock.look() == (now_s, 0.0)


def test_many_small_steps_are_one_that_is_noticed() -> None:
    set_s = 0.0
    clock = WallClock(lambda: 100.0 + set_s, lambda: 100.0)
    noticed = []
    for _ in range(20):
        set_s += STEP_S_MIN / 4
        noticed.append(clock.look()[1])
    assert abs(sum(noticed) - set_s) < STEP_S_MIN
