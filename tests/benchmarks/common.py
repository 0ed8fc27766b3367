"""What all benchmarks share: options, the frame of the report, percentiles. Measures nothing itself."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.support.meter import Meter, busy_cpu_s, load_averages

Figures = dict[str, Any]


def run(
    description: str | None, measure: Callable[[argparse.Namespace], Figures], parser: argparse.ArgumentParser
) -> Figures:
    """The whole of a benchmark's main: parse, measure, print. One JSON object with --json, a table otherwise."""
    parser.description = description
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    frame: Figures = {
        "benchmark": parser.prog.rpartition(".")[2],
        "begin_time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "load_before": load_averages(),
        "busy_cores_before": round(busy_cores(), 2),
        "disk_sync_p50_ms": milliseconds(statistics.median(disk_sync_s())),
    }
    begin_s = time.perf_counter()
    figures = frame | measure(given)
    figures |= {"load_after": load_averages(), "took_s": round(time.perf_counter() - begin_s, 1)}
    print(json.dumps(figures) if given.json else table(figures), flush=True)
    return figures


def parser_of(module: str) -> argparse.ArgumentParser:
    """A parser with the name by which the benchmark is started."""
    return argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{module}")


def table(figures: Figures) -> str:
    """One figure in a line, for people."""
    width = max(len(name) for name in figures)
    return "\n".join(f"{name:{width}}  {_text(value)}" for name, value in figures.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return " ".join(_text(part) for part in value) if isinstance(value, list) else str(value)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def busy_cores(span_s: float = 0.5) -> float:
    """How many cores are busy now, before we use any: what others leave us."""
    begin_s, busy_s = time.perf_counter(), busy_cpu_s()
    time.sleep(span_s)
    return (busy_cpu_s() - busy_s) / (time.perf_counter() - begin_s)


def disk_sync_s(count: int = 50) -> list[float]:
    """Seconds for each of some synced writes of a page where the state will be: what a promise costs here at least."""
    with tempfile.TemporaryFile() as file:

        def write() -> None:
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fdatasync(file.fileno())

        return [timed(write) for _ in range(count)]


def timed(action: Callable[[], object]) -> float:
    """Seconds that the call took."""
    begin_s = time.perf_counter()
    action()
    return time.perf_counter() - begin_s


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank: a value that occurred. With 20 values, the 99th is the largest."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread_ms(name: str, seconds: Sequence[float]) -> Figures:
    """Median, 99th percentile, least and largest, in milliseconds."""
    return {
        f"{name}_p50_ms": milliseconds(statistics.median(seconds)),
        f"{name}_p99_ms": milliseconds(percentile(seconds, 99)),
        f"{name}_min_ms": milliseconds(min(seconds)),
        f"{name}_max_ms": milliseconds(max(seconds)),
        f"{name}_count": len(seconds),
    }


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)


def cost(name: str, meter: Meter, count: int) -> Figures:
    """A rate, what it cost in CPU time by process, and what others used meanwhile."""
    return {
        f"{name}_jobs_per_s": round(count / meter.elapsed_s, 1),
        f"{name}_cpu_ms_per_job": round(meter.cpu_s / count * 1000, 2),
        f"{name}_client_cpu_ms_per_job": round(meter.client_cpu_s / count * 1000, 2),
        f"{name}_cpu_s_by_process": meter.cpu_s_by_name,
        f"{name}_others_cores": round(meter.others_cores, 2),
    }
