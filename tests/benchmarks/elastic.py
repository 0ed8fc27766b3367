"""Elastic jobs: how much of what batch jobs leave a session uses, and how long batch jobs wait for it.

In simulation: batch jobs at a load of 0.8, without and with a session, for each engine and several seeds. `wait_s_max`
is the longest that a start waited for workers to leave; `later` and `sooner` count batch jobs that began more than a
second later or sooner than without the session (a plan is chaotic: a moment more changes who fits where).

On real agents (`--reclaims`): a session fills a cluster of this machine, and jobs that need its room come one by one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from random import Random

import attrs

from hal_core.client import Client, session
from tests.benchmarks.common import Figures, parser_of, progress, run
from tests.support import tasks
from tests.support.elastic_runs import delays_s, make_case, run as simulate, session_job, waits_s
from tests.support.hal import HalCluster

ENGINES = ("easy", "hal", "fcfs", "conservative")
WAIT_S_MAX = 120.0


def measure(given: argparse.Namespace) -> Figures:
    figures: Figures = {}
    for engine in given.engines:
        progress(f"{engine}: {given.seeds} seeds")
        figures |= {f"{engine}_{name}": value for name, value in simulated(engine, given).items()}
    if given.reclaims:
        figures |= reclaimed(given)
    return figures


def simulated(engine: str, given: argparse.Namespace) -> Figures:
    recovered, waits, later, sooner, jobs, mean_s = [], [0.0], 0, 0, 0, []
    for seed in range(given.seeds):
        case = attrs.evolve(make_case(Random(seed), given.jobs, given.load), engine=engine, leave_s=given.leave_s)
        alone, beside = simulate(case), simulate(case, [session_job(case.cpu_count)])
        recovered.append(beside.elastic_cpu_s / (case.cpu_count * case.span_s - beside.batch_cpu_s))
        waits += waits_s(beside.events)
        delays = [each for each in delays_s(alone, beside) if each < float("inf")]
        jobs += len(delays)
        later += sum(each > 1.0 for each in delays)
        sooner += sum(each < -1.0 for each in delays)
        mean_s.append(statistics.mean(delays))
    return {
        "recovered": round(min(recovered), 3),
        "wait_s_max": round(max(waits), 3),
        "jobs": jobs,
        "later": later,
        "sooner": sooner,
        "mean_delay_s": round(statistics.mean(mean_s), 3),
    }


def reclaimed(given: argparse.Namespace) -> Figures:
    """Seconds from the submission of a job that needs a session's room to its start, beside one that finds room."""
    with HalCluster(node_count=2, cpus=2) as cluster, Client(str(cluster.socket)) as client:
        free_s = sorted(start_s(client) for _ in range(given.reclaims))
        job = {"kill-grace": f"{given.grace_s:g}s"}
        with session(workers=0, elastic=4, server=str(cluster.socket), job=job) as opened:
            stream = opened.stream(tasks.last, iter(lambda: given.task_s, None), in_order=False)
            next(stream)
            taken_s = []
            for _ in range(given.reclaims):
                deadline_s = time.monotonic() + WAIT_S_MAX
                while opened.figures().worker_count < 4:
                    assert time.monotonic() < deadline_s, "the session does not get its workers back"
                    time.sleep(0.05)
                taken_s.append(start_s(client))
            stream.close()
            opened.cancel()
    taken_s.sort()
    return {
        "reclaim_p50_s": round(statistics.median(taken_s), 3),
        "reclaim_p99_s": round(taken_s[int(len(taken_s) * 0.99)], 3),
        "free_p50_s": round(statistics.median(free_s), 3),
        "grace_s": given.grace_s,
    }


def start_s(client: Client) -> float:
    """How long one job of one CPU waited for its start, by the journal."""
    view = client.wait(client.submit(["true"], cpus_per_task=1), timeout_s=WAIT_S_MAX)
    assert view.start_time_s is not None
    return view.start_time_s - view.submit_time_s


if __name__ == "__main__":
    parser = parser_of("elastic")
    parser.add_argument("--engines", nargs="*", default=list(ENGINES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--load", type=float, default=0.8)
    parser.add_argument("--leave-s", type=float, default=0.02, help="how long a worker takes to leave")
    parser.add_argument("--reclaims", type=int, default=100, help="jobs that need the session's room, on real agents")
    parser.add_argument("--grace-s", type=float, default=1.0)
    parser.add_argument("--task-s", type=float, default=0.02, help="how long the session's tasks take")
    run(__doc__, measure, parser)
