"""The report of a simulation: numbers that add up, intervals that cover, pictures that stand alone."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from hal_core.models.prediction import Prediction
from hal_core.sim.figures import figures_of
from hal_core.sim.machine import Machine
from hal_core.sim.trace import TraceJob
from hal_core.simulate import Run, series
from hal_core.simulate.marks import Scale, duration, time_ticks
from hal_core.simulate.page import page_of, write_page
from hal_core.simulate.resampling import Pairs, difference_of_slowdowns, difference_of_waits
from tests.support.replays import Setting, replay
from tests.support.simple_traces import some_jobs

PROCESSORS = 16
ARGUMENTS = Namespace(
    estimates="requested", correction="request", event_order="together", replicas=1, shake=0.0, cluster=None, seed=0
)


def run_of(policy: str, seed: int = 1, count: int = 80) -> Run:
    jobs = some_jobs(seed, count, step_s=60)
    start_s = replay(jobs, Machine.pool(PROCESSORS), Setting(policy))
    figures = figures_of(jobs, start_s, PROCESSORS)
    return Run("<some>&trace", policy, "requested", 0, 3, figures, 1000.0, jobs, start_s, PROCESSORS)


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(ARGUMENTS, [run_of("easy"), run_of("easy-sjbf"), run_of("fcfs")])


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(page: str) -> None:
    assert not re.search(r"https?:|<script|<link|@import|url\(|src=", page)
    assert "prefers-color-scheme:dark" in page


def test_every_picture_is_well_formed_and_says_what_it_shows(page: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 1 + 2 + 2 + 3
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("aria-label")
        for shape in root.iter("rect"):
            assert float(shape.get("width", "nan")) >= 0
            assert float(shape.get("height", "nan")) >= 0


def test_texts_from_outside_are_escaped(page: str) -> None:
    assert "<some>" not in page
    assert "&lt;some&gt;&amp;trace" in page


def test_a_trace_without_jobs_has_a_page() -> None:
    empty = attrs.evolve(run_of("easy", count=1), jobs=(), start_s=[])
    assert "0 jobs" in page_of(ARGUMENTS, [empty])


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    write_page(Namespace(**vars(ARGUMENTS), report=str(target)), [run_of("easy")])
    assert target.read_text().endswith("</html>\n")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_quantiles_are_drawn_against_what_they_covered() -> None:
    run = run_of("easy")
    assert "Predicted run times" not in page_of(ARGUMENTS, [run])
    said = [Prediction(job.run_s / 2, job.run_s, job.run_s * 2) for job in run.jobs]
    predicted = attrs.evolve(run, foretold=said)
    assert series.coverage(predicted) == [(0.1, 0.0), (0.5, 1.0), (0.9, 1.0)]
    found = page_of(ARGUMENTS, [predicted])
    assert "Predicted run times" in found
    assert "100.0% of the jobs ran no longer than their p50" in found


# -- numbers -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), policy=st.sampled_from(["easy", "fcfs"]))
def test_levels_over_time_add_up(seed: int, policy: str) -> None:
    run = run_of(policy, seed, 40)
    span = series.Span.of([run])
    used = sum(series.utilisation(run, span)) * span.bin_s * run.processors
    assert used == pytest.approx(sum(job.run_s * job.processors for job in run.jobs))
    waited = sum(series.waiting(run, span)) * span.bin_s
    assert waited == pytest.approx(sum(start - job.submit_s for job, start in series.ran(run)))
    assert all(0 <= value <= 1 + 1e-9 for value in series.utilisation(run, span))


def test_every_job_has_one_class_of_size() -> None:
    run = run_of("easy")
    classes = series.size_classes(run.jobs)
    assert all(sum(belongs(job) for belongs in classes.values()) == 1 for job in run.jobs)
    assert sum(count for count, _ in series.waits_by_size(run).values()) == len(run.jobs)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_bars_of_the_window_do_not_overlap(seed: int) -> None:
    run = run_of("easy", seed, 60)
    found = series.bars(run, series.busiest_window(run))
    for number, bar in enumerate(found):
        assert sum(high - low for low, high in bar.rows) == bar.job.processors
        for other in found[:number]:
            if other.start_s + other.job.run_s > bar.start_s:
                rows = [(max(a, c), min(b, d)) for a, b in bar.rows for c, d in other.rows]
                assert all(low >= high for low, high in rows)


# -- how sure ----------------------------------------------------------------------------------------------------------


def pairs_of(random: Random, gain: float) -> Pairs:
    """A thousand jobs whose waits under the other policy are so much of those under the first, and noise."""
    jobs = [TraceJob(number, 60.0 * number, 600.0, 600.0, 1, "u") for number in range(1000)]
    first = [random.expovariate(1 / 1000) for _ in jobs]
    other = [wait * gain * random.uniform(0.5, 1.5) for wait in first]
    starts = ([job.submit_s + wait for job, wait in zip(jobs, waits, strict=True)] for waits in (first, other))
    return Pairs(jobs, *starts)


def test_equal_policies_do_not_differ() -> None:
    pairs = pairs_of(Random(1), 1.0)
    same = Pairs(pairs.jobs, pairs.first_s, pairs.first_s)
    for each in (difference_of_waits([same], 0), difference_of_slowdowns([same], 0)):
        assert (each.value, each.low, each.high, each.is_sure) == (0.0, 0.0, 0.0, False)


def test_a_difference_is_found_and_repeats() -> None:
    pairs = [pairs_of(Random(seed), 0.8) for seed in range(3)]
    found = difference_of_waits(pairs, 7)
    assert found.low < found.value < found.high < 0
    assert found.is_sure
    assert found.value == pytest.approx(-0.2, abs=0.03)
    assert found == difference_of_waits(pairs, 7)


def test_intervals_cover_what_they_say() -> None:
    """The true difference lies in the 95 % interval in about 95 of 100 cases; blocks make it a little less."""
    found = [difference_of_waits([pairs_of(Random(seed), 0.9)], seed) for seed in range(60)]
    covered = sum(each.low <= -0.1 <= each.high for each in found)
    assert 50 <= covered <= 60


# -- marks -------------------------------------------------------------------------------------------------------------


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9), st.integers(2, 10))
def test_ticks_are_few_and_within(low: float, span: float, count: int) -> None:
    scale = Scale(low, low + span, 0, 100)
    ticks = scale.ticks(count)
    assert len(ticks) <= count + 2
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (5.25, "5.2 s"), (75, "1 min 15 s"), (6835, "1 h 53 min"), (262_194, "3 d"), (3600, "1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_that_are_dates_are_shown_as_dates() -> None:
    ticks = time_ticks(Scale(1.7e9, 1.7e9 + 40 * 86_400, 0, 1000))
    assert ticks[0][1].startswith("2023-11")
