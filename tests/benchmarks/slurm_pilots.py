"""Pilots: HAL's jobs and sessions inside of a few allocations of Slurm, beside bare metal and beside jobs of Slurm.

Two HALs of equal size take turns with one session of tasks that do nothing; then the same short jobs are run as jobs of
Slurm (in the better of two ways), as jobs of HAL, and as commands of a session, the latter two from nothing: the
pilots are ordered within the time that is measured. CPU time is counted beside it, all processes of a way together:
where others use the machine it is what can be compared.
"""

from __future__ import annotations

import argparse
import statistics
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

from hal_core.client import Session, session
from tests.benchmarks.common import Figures, progress, timed
from tests.benchmarks.slurm_peer import run_array, run_queued, throughput_cluster
from tests.support.hal_services import HalServices
from tests.support.meter import Meter
from tests.support.pilots import PilotServices
from tests.support.slurm import SlurmCluster

PILOT_COUNT = 2
CPUS = 16
WARM_UP_COUNT = 2000
LOOK_EVERY_S = 0.25
"""Whether all have ended: what asking costs is the daemon's, too."""


def measure_pilots(given: argparse.Namespace) -> Figures:
    with throughput_cluster(node_count=8, cpus=CPUS) as slurm:
        return _rates(slurm, given) | _speedups(slurm, given.short_jobs)


def _rates(slurm: SlurmCluster, given: argparse.Namespace) -> Figures:
    inside = PilotServices(slurm=slurm, node_count=PILOT_COUNT, cpus=CPUS)
    bare = HalServices(node_count=PILOT_COUNT, cpus=CPUS)
    rates: dict[str, list[float]] = {"pilot": [], "bare_metal": []}
    with inside, _pilots(inside), bare, _open(inside) as in_pilots, _open(bare) as on_metal:
        opened = {"pilot": in_pilots, "bare_metal": on_metal}
        for each in opened.values():
            list(each.map(_nothing, range(WARM_UP_COUNT)))
        for number in range(given.rounds):
            progress(f"a session in pilots and on bare metal: round {number + 1} of {given.rounds}")
            for name, each in opened.items():
                rates[name].append(given.tasks / timed(partial(_map, each, given.tasks)))
    medians = {f"{name}_tasks_per_s": round(statistics.median(found)) for name, found in rates.items()}
    ratios = [pilot / metal for pilot, metal in zip(rates["pilot"], rates["bare_metal"], strict=True)]
    return {**medians, "pilot_rate_ratio": round(statistics.median(ratios), 3)}


def _speedups(slurm: SlurmCluster, count: int) -> Figures:
    run_array(slurm, 32)  # every slurmd has started a step once
    array, queued = run_array(slurm, count), run_queued(slurm, count)
    best = min(array, queued, key=lambda meter: meter.elapsed_s)
    took_s: dict[str, float] = {}
    cpu_s: dict[str, float] = {}
    for name, act in (("jobs", _as_jobs), ("commands", _as_commands)):
        progress(f"{count} {name} of HAL, in pilots that are ordered now")
        with PilotServices(slurm=slurm, node_count=PILOT_COUNT, cpus=CPUS) as hal:
            with Meter(hal.tree.pid) as daemon, Meter(slurm.tree.pid) as pilots:
                took_s[name] = timed(partial(act, hal, count))
            cpu_s[name] = daemon.cpu_s + daemon.client_cpu_s + pilots.cpu_s
    return {
        "short_jobs": count,
        "slurm_array_s": round(array.elapsed_s, 1),
        "slurm_queued_s": round(queued.elapsed_s, 1),
        "slurm_cpu_ms_per_job": round(best.cpu_s / count * 1000, 1),
        "pilot_jobs_s": round(took_s["jobs"], 1),
        "pilot_job_cpu_ms": round(cpu_s["jobs"] / count * 1000, 2),
        "pilot_commands_s": round(took_s["commands"], 1),
        "pilot_command_cpu_ms": round(cpu_s["commands"] / count * 1000, 2),
        "pilot_speedup": round(best.elapsed_s / took_s["jobs"], 2),
        "pilot_session_speedup": round(best.elapsed_s / took_s["commands"], 2),
        "pilot_cpu_ratio": round(best.cpu_s / cpu_s["jobs"], 2),
        "pilot_session_cpu_ratio": round(best.cpu_s / cpu_s["commands"], 2),
    }


def _as_jobs(hal: PilotServices, count: int) -> None:
    with _pilots(hal):
        hal.submit_bulk([["/bin/true"]] * count)
        hal.wait_until_done(timeout_s=count, interval_s=LOOK_EVERY_S)
        assert hal.counts()["COMPLETED"] == count, hal.counts()


def _as_commands(hal: PilotServices, count: int) -> None:
    with _pilots(hal), _open(hal) as opened:
        ends = list(opened.run([["/bin/true"]] * count))
        assert len(ends) == count


@contextmanager
def _pilots(hal: PilotServices) -> Iterator[None]:
    """Ordered from Slurm, and given back."""
    made = trio.run(hal.pilots().provision, "pilot", PILOT_COUNT, str(uuid.uuid4()))
    yield
    trio.run(hal.pilots().release, [each.native_id for each in made])


@contextmanager
def _open(hal: HalServices) -> Iterator[Session]:
    """With one worker in each node."""
    with session(workers=PILOT_COUNT, server=str(hal.socket)) as opened:
        yield opened


def _map(opened: Session, count: int) -> None:
    for _ in opened.map(_nothing, range(count)):
        pass


def _nothing(item: object) -> object:
    return item
