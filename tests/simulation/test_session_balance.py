"""Uneven tasks on the workers of a session: how much later the last ends than it could."""

from __future__ import annotations

from random import Random, SystemRandom

from hypothesis import given, settings, strategies as st

from hal_core.sessions.worker import LATE_NS
from tests.support.session_runs import Run

MILLISECOND_NS = 1_000_000
LENGTHS = st.lists(st.sampled_from([1, 10, 60, 300, 5000]), min_size=1, max_size=150)


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, worker_count=st.integers(1, 8))
def test_the_end_is_near_that_of_a_list_schedule_whatever_the_tasks_take(lengths, worker_count):
    """Of which the guarantee is the mean and the longest (Graham, Bell System Technical Journal 45, 1966)."""
    lengths_ns = [each * MILLISECOND_NS for each in lengths]
    ran = Run(lengths_ns, worker_count).run()
    assert ran.end_ns <= 1.05 * sum(lengths_ns) / worker_count + max(lengths_ns) + 3 * LATE_NS


def test_long_tasks_after_many_short_ones_do_not_pile_up_with_one_worker():
    lengths_ns = [MILLISECOND_NS] * 2000 + [2000 * MILLISECOND_NS] * 20
    assert Run(lengths_ns, 4).run().own_share > 0.97


def test_of_a_heavy_tailed_mix_the_workers_time_is_the_tasks_own():
    """And stragglers do not make the batches of the others small."""
    seed = SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    random = Random(seed)
    lengths_ns = [int(min(0.2 * random.paretovariate(1.1), 100.0) * MILLISECOND_NS) for _ in range(10_000)]
    ran = Run(lengths_ns, 2).run()
    assert ran.own_share > 0.97
    assert ran.message_count < len(lengths_ns) / 8
