"""What running attempts use, added up over nodes and time; and since when they are idle."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.job import JobId
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.models.use import PartUse
from hal_core.rules.use_log import IDLE_SHARE, PERIODS_GOOD, UseLog

KEY = AttemptKey(JobId(7), 0, 1)
N1, N2 = NodeName("n1"), NodeName("n2")
MIB = 1 << 20


def log_of(cpu_count: int = 8, part_count: int = 1, has_gpus: bool = False) -> UseLog:
    log = UseLog()
    log.begin(KEY, cpu_count, part_count, has_gpus)
    return log


samples = st.lists(
    st.tuples(st.floats(0.5, 100.0), st.floats(0.0, 8.0), st.integers(0, 2**40)), min_size=1, max_size=30
)


@settings(deadline=None)
@given(samples)
def test_mean_peak_and_time_are_those_of_a_recount(given_samples) -> None:
    log, now_s = log_of(), 1000.0
    for period_s, cpus, memory_bytes in given_samples:
        now_s += period_s
        log.note(N1, period_s, [PartUse(KEY, cpus, memory_bytes)], now_s)
    use = log.job(JobId(7))
    assert use is not None
    whole_s = sum(period_s for period_s, _, _ in given_samples)
    cpu_s = sum(period_s * cpus for period_s, cpus, _ in given_samples)
    assert use.cpu_s == pytest.approx(cpu_s)
    assert use.cpus_mean == pytest.approx(cpu_s / whole_s)
    assert use.measured_s == pytest.approx(whole_s)
    assert (use.cpus, use.memory_bytes) == given_samples[-1][1:]
    assert use.memory_bytes_max == max(memory_bytes for _, _, memory_bytes in given_samples)


@settings(deadline=None)
@given(samples)
def test_idle_since_the_last_time_that_it_worked(given_samples) -> None:
    log, now_s, since_s = log_of(), 1000.0, None
    for period_s, cpus, memory_bytes in given_samples:
        begin_s, now_s = now_s, now_s + period_s
        log.note(N1, period_s, [PartUse(KEY, cpus, memory_bytes)], now_s)
        since_s = None if cpus >= IDLE_SHARE * 8 else begin_s if since_s is None else since_s
    use = log.job(JobId(7))
    assert use is not None
    assert use.idle_since_s == (None if since_s is None else pytest.approx(since_s))
    assert dict(log.idle(now_s)) == ({} if since_s is None else {KEY: pytest.approx(since_s)})


def test_a_gang_is_idle_only_if_every_node_has_spoken_and_all_together_do_nothing() -> None:
    log = log_of(cpu_count=16, part_count=2)
    log.note(N1, 10.0, [PartUse(KEY, 0.0, MIB)], 10.0)
    assert not dict(log.idle(10.0)), "the other node may be busy"
    log.note(N2, 10.0, [PartUse(KEY, 7.0, 2 * MIB)], 11.0)
    assert not dict(log.idle(11.0))
    log.note(N2, 10.0, [PartUse(KEY, 0.1, 3 * MIB)], 21.0)
    assert dict(log.idle(21.0)) == {KEY: 11.0}
    use = log.job(JobId(7))
    assert use is not None
    assert (use.cpus, use.memory_bytes, use.memory_bytes_max) == (0.1, 4 * MIB, 3 * MIB)


def test_beside_gpus_even_a_little_is_work() -> None:
    """One CPU that feeds eight GPUs is three hundredths of 32."""
    for has_gpus in (True, False):
        log = log_of(cpu_count=32, has_gpus=has_gpus)
        log.note(N1, 10.0, [PartUse(KEY, 1.0, MIB)], 10.0)
        assert bool(dict(log.idle(10.0))) is not has_gpus


def test_gpus_of_which_is_known_what_they_do_count_as_cpus_do() -> None:
    for gpus, is_idle in ((0.0, True), (0.15, True), (0.25, False), (None, False)):
        log = log_of(cpu_count=32)
        log.forget(KEY)
        log.begin(KEY, 32, 1, 4)
        log.note(N1, 10.0, [PartUse(KEY, 1.0, MIB, gpus)], 10.0)
        assert bool(dict(log.idle(10.0))) is is_idle, gpus
        use = log.job(JobId(7))
        assert use is not None
        assert (use.gpus, use.gpus_mean, use.gpu_count) == (gpus, gpus, 4)


def test_elements_of_an_array_are_idle_together_or_not_at_all() -> None:
    log = log_of(cpu_count=4)
    other = AttemptKey(JobId(7), 1, 1)
    log.begin(other, 4, 1, False)
    log.note(N1, 10.0, [PartUse(KEY, 0.0, MIB), PartUse(other, 4.0, MIB)], 10.0)
    use = log.job(JobId(7))
    assert use is not None
    assert (use.cpu_count, use.idle_since_s) == (8, None)
    log.note(N1, 10.0, [PartUse(KEY, 0.0, MIB), PartUse(other, 0.0, MIB)], 20.0)
    use = log.job(JobId(7))
    assert use is not None
    assert use.idle_since_s == 10.0, "since the last of them did nothing"
    log.forget(KEY)
    log.forget(other)
    assert log.job(JobId(7)) is None


def test_what_a_node_said_long_ago_is_not_counted() -> None:
    log = log_of()
    assert log.cpus(0.0) is None
    log.note(N1, 10.0, [PartUse(KEY, 3.0, MIB)], 10.0)
    log.note(N2, 10.0, [PartUse(AttemptKey(JobId(9), 0, 1), 2.0, MIB)], 12.0)
    assert log.cpus(13.0) == 5.0
    assert log.cpus(10.0 + PERIODS_GOOD * 10.0 + 1.0) == 2.0
    assert log.job(JobId(9)) is None, "it was never begun"
