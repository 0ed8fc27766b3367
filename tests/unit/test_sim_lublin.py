"""The workload model: its words, that it repeats, and that it makes what the paper says."""

from __future__ import annotations

import math
from statistics import fmean

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.errors import InvalidInput
from hal_core.sim.lublin import Lublin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lublin:", Lublin()),
        ("lublin:jobs=50,procs=64,seed=3", Lublin(50, 64, 3)),
        ("lublin:load=1.5,users=7", Lublin(users=7, load=1.5)),
    ],
)
def test_words(text: str, expected: Lublin) -> None:
    assert Lublin.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("lublin:job=5", "did you mean 'jobs'?"),
        ("lublin:jobs=many", "jobs is 'many'"),
        ("lublin:jobs=0", "give more than 0"),
        ("lublin:procs=-4", "give more than 0"),
        ("lublin:load=nan", "give more than 0"),
        ("lublin:jobs=100000000000", "at most 1e+07"),
    ],
)
def test_words_that_cannot_be(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match="lublin:") as raised:
        Lublin.parse(text)
    assert hint in str(raised.value)


@settings(max_examples=30, deadline=None)
@given(procs=st.integers(1, 5000), seed=st.integers(0, 1000))
def test_every_job_fits_and_the_same_seed_makes_the_same(procs: int, seed: int) -> None:
    model = Lublin(50, procs, seed)
    trace = model.trace()
    assert len(trace.jobs) == 50
    assert all(1 <= job.processors <= procs and job.run_s >= 1 for job in trace.jobs)
    assert [job.submit_s for job in trace.jobs] == sorted(job.submit_s for job in trace.jobs)
    assert model.trace() == trace


def test_it_makes_what_the_paper_describes() -> None:
    """Within what ten thousand draws allow: shares of sizes, and the day's cycle."""
    jobs = Lublin(10_000, 256, 7).trace().jobs
    serial = fmean(job.processors == 1 for job in jobs)
    assert 0.22 < serial < 0.27
    powers = fmean(job.processors & (job.processors - 1) == 0 for job in jobs)
    assert powers > 0.80
    small = fmean(math.log(job.run_s) for job in jobs if job.processors <= 16)
    large = fmean(math.log(job.run_s) for job in jobs if job.processors >= 64)
    assert large > small
    by_day = sum(8 <= job.submit_s % 86_400 / 3600 < 20 for job in jobs)
    assert by_day > 0.6 * len(jobs)


def test_load_makes_jobs_come_faster() -> None:
    calm, busy = (Lublin(2000, 64, 1, load=load).trace().jobs[-1].submit_s for load in (1.0, 4.0))
    assert busy < 0.5 * calm
