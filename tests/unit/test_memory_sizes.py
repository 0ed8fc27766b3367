"""Sizes from what such jobs used: never more than was asked for, large enough nearly always, and bounded in harm."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, strategies as st

from hal_core.rules.memory_sizes import (
    GRAIN_BYTES,
    KIND_MIN,
    LATEST,
    UNDER_WAY_MAX,
    USER_MIN,
    MemoryPast,
    UsedMemory,
    kind_of,
)
from tests.support.core_world import GIB, make_spec

TRAIN = "train"
sizes = st.integers(1, 64 * GIB)


@given(st.lists(sizes, max_size=60), sizes)
def test_it_is_never_more_than_was_asked_for_and_never_nothing(peaks: list[int], asked: int) -> None:
    past = MemoryPast()
    for peak in peaks:
        past.ended("ada", TRAIN, peak)
    assert 0 < past.size("ada", TRAIN, asked, 0) <= asked


@given(st.lists(sizes, min_size=KIND_MIN, max_size=LATEST))
def test_what_such_jobs_used_would_fit(peaks: list[int]) -> None:
    past = MemoryPast()
    for peak in peaks:
        past.ended("ada", TRAIN, peak)
    assert past.size("ada", TRAIN, 1 << 60, 0) >= max(peaks)


def test_who_is_new_gets_what_he_asks_for() -> None:
    past = MemoryPast()
    for _ in range(KIND_MIN - 1):
        past.ended("ada", TRAIN, GIB)
    assert past.size("ada", TRAIN, 64 * GIB, 0) == 64 * GIB
    past.ended("ada", TRAIN, GIB)
    assert past.size("ada", TRAIN, 64 * GIB, 0) < 2 * GIB
    assert past.size("bob", TRAIN, 64 * GIB, 0) == 64 * GIB
    assert past.size("ada", "other", 64 * GIB, 0) == 64 * GIB


def test_a_kind_that_is_new_is_judged_by_the_user() -> None:
    past = MemoryPast()
    for number in range(USER_MIN):
        past.ended("ada", number, GIB)
    assert GIB <= past.size("ada", "new", 64 * GIB, 0) < 2 * GIB


def test_no_more_are_under_way_on_a_guess_than_ends_are_remembered() -> None:
    past = MemoryPast()
    for _ in range(KIND_MIN):
        past.ended("ada", TRAIN, GIB)
    assert past.size("ada", TRAIN, 64 * GIB, UNDER_WAY_MAX - 1) < 2 * GIB
    assert past.size("ada", TRAIN, 64 * GIB, UNDER_WAY_MAX) == 64 * GIB


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_whatever_peaks_are_like_few_do_not_fit(spread: float) -> None:
    """Also where they are spread so far that the most of twenty is often exceeded: then the factor grows."""
    random, past, misses, count = Random(1), MemoryPast(), 0, 5000
    for _ in range(count):
        peak = int(GIB * random.lognormvariate(0.0, spread))
        misses += peak > past.size("ada", TRAIN, 1 << 60, 0)
        past.ended("ada", TRAIN, peak)
    assert misses <= 0.01 * count


def test_what_was_used_is_remembered_for_the_latest() -> None:
    past = MemoryPast()
    assert past.used("ada", TRAIN) is None
    for peak in (9 * GIB, *[GIB] * LATEST):
        past.ended("ada", TRAIN, peak)
    assert past.used("ada", TRAIN) == UsedMemory(LATEST, GIB)


def test_alike_are_jobs_of_one_name_width_and_limit() -> None:
    spec = make_spec(name="run17", walltime_s=60.0)
    assert kind_of(spec) == kind_of(make_spec(name="run18", walltime_s=60.0))
    others = [make_spec(name="eval", walltime_s=60.0), make_spec(name="run17", walltime_s=61.0)]
    others.append(make_spec(name="run17", walltime_s=60.0, cpus_per_task=2))
    assert all(kind_of(other) != kind_of(spec) for other in others)


def test_sizes_are_multiples_so_that_shapes_are_few() -> None:
    past = MemoryPast()
    for peak in (100_000_001, 100_000_002, 100_000_003):
        past.ended("ada", TRAIN, peak)
    assert past.size("ada", TRAIN, 64 * GIB, 0) % GRAIN_BYTES == 0
