"""Sessions: tasks a second, what one costs, and how long one alone takes; the standard library and peers beside it.

HAL and `multiprocessing.Pool.map(chunksize=1)` take turns within each round; the medians over the rounds are printed.
Dask, Ray, Parsl and HyperQueue are installed from the package index into environments that are thrown away afterwards
(`--venvs DIR` keeps them); one that cannot be installed or run is left out, and the reason goes to stderr.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.pool import Pool
from pathlib import Path
from random import Random

from hal_core.client import Session, session
from tests.benchmarks.common import Figures, milliseconds, parser_of, progress, run, timed
from tests.benchmarks.session_peers import PEERS
from tests.benchmarks.session_relay import Relay
from tests.support.meter import Meter
from tests.support.processes import members_of

PACKAGES = {
    "dask": ["distributed==2026.8.0", "dask==2026.8.0"],
    "ray": ["ray==2.60.0"],
    "parsl": ["parsl==2026.10.26"],
    "hyperqueue": ["hyperqueue==0.27.0"],
}
KIB = b"x" * 1024
SPIN_S = (0.001, 0.01, 0.1)
TAIL_S = (0.0002, 0.1)
"""The shortest and the longest task of the heavy-tailed mix."""
TAIL_EXPONENT = 1.1
"""Of its Pareto distribution: a fifth of the tasks take four fifths of the time."""
WARM_UP_COUNT = 2000


def identity(item: object) -> object:
    return item


def spin(seconds: float) -> float:
    """Keep a core busy for so much CPU time. Returns how much it was."""
    import time

    begin_s = time.thread_time()
    while (spent_s := time.thread_time() - begin_s) < seconds:
        pass
    return spent_s


def run_true(_: int) -> int:
    return subprocess.run(["/bin/true"], check=False).returncode


def measure(given: argparse.Namespace) -> Figures:
    rounds: defaultdict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        pool = stack.enter_context(multiprocessing.Pool(given.workers))
        pool.map(identity, range(WARM_UP_COUNT), chunksize=1)
        rounds["open_ms"] = [milliseconds(open_once(given)) for _ in range(given.rounds)]
        opened = stack.enter_context(session(workers=given.workers, server="local"))
        list(opened.map(identity, range(WARM_UP_COUNT)))
        relay = stack.enter_context(Relay())
        for number in range(given.rounds):
            progress(f"round {number + 1} of {given.rounds}")
            for name, value in one_round(given, opened, pool, relay).items():
                rounds[name].append(value)
        medians = {name: statistics.median(values) for name, values in rounds.items()}
        rounds["recoverable_tasks_per_s"] = [recoverable_rate(given) for _ in range(given.rounds)]
        medians |= {"recoverable_tasks_per_s": statistics.median(rounds["recoverable_tasks_per_s"])}
        medians |= worst_shares(opened, given)
        medians["broker_rss_mb"] = memory_after(opened, given.memory_count)
    figures = {name: round(value, 3) for name, value in medians.items()}
    figures["ratio_poolmap"] = round(medians["tasks_per_s"] / medians["poolmap_tasks_per_s"], 2)
    figures["ratio_poolmap_commands"] = round(medians["commands_per_s"] / medians["poolmap_commands_per_s"], 2)
    for peer in given.peers:
        figures |= beside(peer, medians, given)
    return figures


def open_once(given: argparse.Namespace) -> float:
    """Seconds until a session can be given tasks. Its workers are still starting then; what is given waits for them."""

    def open_and_leave() -> None:
        opened.append(session(workers=given.workers, server="local"))

    opened: list[Session] = []
    seconds = timed(open_and_leave)
    opened[0].shutdown()
    return seconds


def one_round(given: argparse.Namespace, opened: Session, pool: Pool, relay: Relay) -> dict[str, float]:
    count = given.count
    found: dict[str, float] = {}
    meter = metered(lambda: list(opened.map(identity, range(count))))
    found["tasks_per_s"] = count / meter.elapsed_s
    found["cpu_us_per_task"] = (meter.cpu_s + meter.client_cpu_s) / count * 1e6
    found["others_cores"] = meter.others_cores
    pool_count = count // 8
    meter = metered(lambda: pool.map(identity, range(pool_count), chunksize=1))
    found["poolmap_tasks_per_s"] = pool_count / meter.elapsed_s
    found["poolmap_cpu_us_per_task"] = (meter.cpu_s + meter.client_cpu_s) / pool_count * 1e6
    items = [KIB] * (count // 4)
    found["kib_tasks_per_s"] = len(items) / metered(lambda: list(opened.map(identity, items))).elapsed_s
    found["submits_per_s"] = len(items) / metered(lambda: submit_all(opened, len(items))).elapsed_s
    found["rtt_p50_ms"], found["relay_rtt_p50_ms"] = round_trips(opened, relay, given.single_count)
    commands = [["/bin/true"]] * given.command_count
    found["commands_per_s"] = len(commands) / metered(lambda: list(opened.run(commands))).elapsed_s
    pooled = metered(lambda: pool.map(run_true, range(len(commands)), chunksize=1))
    found["poolmap_commands_per_s"] = len(commands) / pooled.elapsed_s
    return found


def metered(action: Callable[[], object]) -> Meter:
    with Meter(os.getpid()) as meter:
        action()
    return meter


def submit_all(opened: Session, count: int) -> None:
    for future in [opened.submit(identity, number) for number in range(count)]:
        future.result()


def round_trips(opened: Session, relay: Relay, count: int) -> tuple[float, float]:
    """Medians of HAL and the relay, which take turns."""
    own, bare = [], []
    for _ in range(count):
        own.append(timed(lambda: opened.submit(identity, 1).result()))
        bare.append(timed(relay.round_trip))
    return statistics.median(own) * 1000, statistics.median(bare) * 1000


def recoverable_rate(given: argparse.Namespace) -> float:
    """Tasks a second of a session that has every task, and every result that is given, on disk before."""
    with session(workers=given.workers, recoverable=True, server="local") as opened:
        list(opened.map(identity, range(WARM_UP_COUNT)))
        return given.count / metered(lambda: list(opened.map(identity, range(given.count)))).elapsed_s


def worst_shares(opened: Session, given: argparse.Namespace) -> Figures:
    """Of tasks of one length and of a heavy-tailed mix, the worst of the medians: see `shares`."""
    rounds: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    bounds = []
    for seed in range(given.tail_seed, given.tail_seed + given.rounds):
        for seconds in SPIN_S:
            count = max(int(2 / seconds) * given.workers, given.workers * 4)
            rounds[f"{seconds * 1000:g}_ms"].append(shares(opened, [seconds] * count, given.workers))
        lengths_s = heavy_tailed(Random(seed), 2.0 * given.workers)
        rounds["tail"].append(shares(opened, lengths_s, given.workers))
        bounds.append(list_scheduled(lengths_s, given.workers))
    found = {kind: [statistics.median(values) for values in zip(*each, strict=True)] for kind, each in rounds.items()}
    progress(f"own work and own time, in percent: {found}; of the tails: {rounds['tail']}, as lists {bounds}")
    names = ("own_work_percent", "own_time_percent")
    figures: Figures = {name: min(each[at] for each in found.values()) for at, name in enumerate(names)}
    figures |= {"own_work_tail_percent": found["tail"][0], "own_time_tail_percent": found["tail"][1]}
    return figures | {"list_time_tail_percent": statistics.median(bounds)}


def list_scheduled(lengths_s: list[float], workers: int) -> float:
    """How much of the workers' time the tasks take, in percent, if each is given at no cost to the first that is free:
    at the end some have nothing to do, whoever deals them out without knowing their lengths."""
    ends_s = [0.0] * workers
    for seconds in lengths_s:
        heapq.heapreplace(ends_s, ends_s[0] + seconds)
    return sum(lengths_s) / (workers * max(ends_s)) * 100


def heavy_tailed(random: Random, total_s: float) -> list[float]:
    """Lengths of tasks, in seconds, that add up to about that much."""
    shortest_s, longest_s = TAIL_S
    lengths_s: list[float] = []
    left_s = total_s
    while left_s > 0:
        lengths_s.append(min(shortest_s * random.paretovariate(TAIL_EXPONENT), longest_s))
        left_s -= lengths_s[-1]
    return lengths_s


def shares(opened: Session, lengths_s: list[float], workers: int) -> tuple[float, float]:
    """How much of all CPU time that the tasks led to was their own, and how much of the workers' time, in percent. The
    second means something on a quiet machine only, with a core for each worker."""
    spent: list[float] = []
    meter = metered(lambda: spent.extend(opened.map(spin, lengths_s)))
    own_s = sum(spent)
    return own_s / (meter.cpu_s + meter.client_cpu_s) * 100, own_s / (meter.elapsed_s * workers) * 100


def memory_after(opened: Session, count: int) -> float:
    """The largest process between us and the workers after so many tasks, in MB."""
    for result in opened.stream(identity, range(count)):
        assert result is not None
    (broker,) = [member for member in members_of(os.getpid()) if member.pid == opened.broker_pid]
    return broker.rss_bytes / 1e6


def beside(peer: str, medians: dict[str, float], given: argparse.Namespace) -> Figures:
    """The peer's rate and ours divided by it; nothing if it cannot be had here."""
    kind = "commands_per_s" if peer == "hyperqueue" else "tasks_per_s"
    progress(f"{peer}: installing")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.venvs or temporary) / peer
        python = folder / "bin/python"
        try:
            if not python.exists():
                subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
                install = [str(python), "-m", "pip", "install", "-q", *PACKAGES[peer]]
                subprocess.run(install, check=True, capture_output=True, text=True)
            progress(f"{peer}: running")
            words = [str(python), str(Path(__file__).with_name("session_peers.py")), peer]
            words += ["--count", str(given.peer_count), "--workers", str(given.workers)]
            done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=300)
            rate = json.loads(done.stdout.splitlines()[-1])[kind]
        except (subprocess.SubprocessError, OSError, ValueError, KeyError, IndexError) as error:
            output = getattr(error, "stderr", None) or ""
            progress(f"{peer} is left out: {error}\n{str(output)[-500:]}")
            return {f"ratio_{peer}": None}
    return {f"{peer}_{kind}": round(rate, 1), f"ratio_{peer}": round(medians[kind] / rate, 1)}


if __name__ == "__main__":
    parser = parser_of("sessions")
    parser.add_argument("--count", type=int, default=200_000, help="tasks that do nothing, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--single-count", type=int, default=1000, help="round trips of one task")
    parser.add_argument("--command-count", type=int, default=1000)
    parser.add_argument("--memory-count", type=int, default=1_000_000, help="tasks before the broker's memory is read")
    parser.add_argument("--tail-seed", type=int, default=0, help="of the first round's heavy-tailed mix")
    parser.add_argument("--peer-count", type=int, default=2000, help="tasks for each peer")
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=sorted(PEERS))
    parser.add_argument("--venvs", help="keep the peers' environments here")
    run(__doc__, measure, parser)
