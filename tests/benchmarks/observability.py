"""What it costs to see: the daemon's CPU with observers and without, and a scrape of a large cluster.

`cpu_share` is the part of the daemon's CPU time for a job that its observers take (log and metrics, as configured by
default; nobody scrapes and no traces are sent), at the rate of issue 1's benchmark: jobs that do nothing, as fast as
they go. The observers are given the events of such a run once more, gathered as they were, and their CPU time is taken
by itself; `cpu_share_by_difference` is what whole daemons with and without observers tell, in turn, which on a machine
with other work is mostly noise. `scrape_ms` is the CPU time of one `GET /metrics`, `stall_ms` the longest that it or
the survey of the queue holds the loop up, with 10,000 nodes and 100,000 jobs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import groupby
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import trio

from hal_core.kernel.cluster_meter import ClusterMeter
from hal_core.kernel.journal_reader import JournalReader
from hal_core.kernel.observers import GATHER_S
from hal_core.models.event import Event
from hal_core.rules.standing import standing_of
from hal_observer_log.observer import LogObserver
from hal_observer_prometheus.observer import PrometheusObserver
from tests.benchmarks.common import Figures, parser_of, progress, run
from tests.support.hal_services import HalServices
from tests.support.large_cluster import NOW_S, large_kernel

WITHOUT: Final = "observers: {}\n"
EVENTS_MAX: Final = 10_000_000


def measure(given: argparse.Namespace) -> Figures:
    with_ms, without_ms, observers_ms = [], [], []
    for turn in range(given.turns):
        progress(f"turn {turn + 1} of {given.turns}: {given.count} jobs with observers, and without")
        whole = run_jobs(given.count, "")
        with_ms.append(whole.cpu_ms)
        without_ms.append(run_jobs(given.count, WITHOUT).cpu_ms)
        observers_ms.append(1000 * trio.run(observe, whole.events) / given.count)
    cpu_ms, bare_ms, own_ms = map(statistics.median, (with_ms, without_ms, observers_ms))
    return {
        "cpu_share": round(own_ms / cpu_ms, 4),
        "cpu_share_by_difference": round(1 - bare_ms / cpu_ms, 4),
        "observers_cpu_ms_per_job": round(own_ms, 4),
        "daemon_cpu_ms_per_job": round(cpu_ms, 3),
        "daemon_cpu_ms_per_job_without": round(bare_ms, 3),
        **scrape(given.nodes, given.jobs),
    }


class Run(NamedTuple):
    """`cpu_ms` of the daemon for each job, and what was in the journal of these jobs."""

    cpu_ms: float
    events: list[Event]


def run_jobs(count: int, configuration: str) -> Run:
    with HalServices(cpus=64, more_configuration=configuration) as hal:
        hal.submit_bulk([["/bin/true"]] * 100)
        hal.wait_until_done()
        reader = JournalReader(hal.state)
        before, before_s = len(reader.read(0, EVENTS_MAX)), hal.daemon().cpu_s
        hal.submit_bulk([["/bin/true"]] * count)
        hal.wait_until_done(timeout_s=600.0, interval_s=0.5)
        cpu_ms = 1000 * (hal.daemon().cpu_s - before_s) / count
        return Run(cpu_ms, [event for _, event in reader.read(before, EVENTS_MAX)])


async def observe(events: list[Event]) -> float:
    """CPU seconds that the observers of the default configuration take for these events, as they were gathered."""
    with TemporaryDirectory() as directory:
        log = LogObserver.from_options({"path": f"{directory}/log"})
        observers = (log, PrometheusObserver.from_options({}))
        begin_s = time.process_time()
        for observer in observers:
            sequence = 1
            for _, group in groupby(events, lambda event: event.time_s // GATHER_S):
                gathered = list(group)
                await observer.record(sequence, gathered)
                sequence += len(gathered)
        return time.process_time() - begin_s


def scrape(node_count: int, job_count: int) -> Figures:
    progress(f"a scrape of {node_count} nodes with {job_count} jobs")
    state = large_kernel(node_count, job_count).state
    observer = PrometheusObserver.from_options({})
    observer.begin(standing_of(state))
    meter = ClusterMeter(lambda: state, lambda: "", lambda: NOW_S)
    pieces = _Pieces()
    worked_s = trio.run(meter.survey, pieces)
    scrape_ms = min(cpu_ms(lambda: (observer.render(), meter.render())) for _ in range(5))
    return {
        "scrape_ms": round(scrape_ms, 1),
        "stall_ms": round(max(scrape_ms, 1000 * pieces.longest_s), 1),
        "survey_cpu_s": round(worked_s, 2),
        "node_count": node_count,
        "job_count": job_count,
    }


def cpu_ms(work: Callable[[], object]) -> float:
    begin_s = time.thread_time()
    work()
    return 1000 * (time.thread_time() - begin_s)


class _Pieces:
    """A clock that notes the longest time between two odd and even readings: a piece of the survey."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._begin_s: float | None = None

    def __call__(self) -> float:
        now_s = time.thread_time()
        if self._begin_s is None:
            self._begin_s = now_s
        else:
            self.longest_s = max(self.longest_s, now_s - self._begin_s)
            self._begin_s = None
        return now_s


def main() -> None:
    parser = parser_of("observability")
    parser.add_argument("--count", type=int, default=2_000, help="jobs in each run")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=100_000)
    run(__doc__, measure, parser)


if __name__ == "__main__":
    main()
