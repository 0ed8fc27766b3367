"""The benchmarks' frame: percentiles are values that occurred, and every benchmark prints its options without work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.benchmarks.common import percentile, spread_ms, table

CHECKOUT = Path(__file__).parents[2]
NAMES = ["job_rate", "latency", "queue_scale", "recovery", "survival"]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_a_value_with_enough_others_below(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6


def test_the_99th_of_twenty_is_the_largest() -> None:
    figures = spread_ms("x", [number / 1000 for number in range(1, 21)])
    assert figures == {"x_p50_ms": 10.5, "x_p99_ms": 20.0, "x_min_ms": 1.0, "x_max_ms": 20.0, "x_count": 20}


def test_the_table_has_one_figure_in_a_line() -> None:
    assert table({"a": 1, "long_one": {"x": 0.5, "y": [1, 2]}}) == "a         1\nlong_one  x 0.5, y 1 2"


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_tells_its_options(name: str) -> None:
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m tests.benchmarks.{name}" in done.stdout
    assert "--json" in done.stdout
