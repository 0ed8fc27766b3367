"""Real traces and the results that others have published or computed for them, for tests of the replay.

The traces are not part of the project: HAL_TRACES names the folder where they lie, the waits of the SC'15 study in its
folder `ref`. Columns of a reference row: average bounded slow-down, mean wait in seconds.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import attrs

from hal_core.planes import Engine
from hal_core.sim.expectations import CORRECTIONS, Expectations, Perfect, Predicted
from hal_core.sim.figures import Figures, figures_of
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.swf import read_swf
from hal_core.sim.trace import Trace, TraceJob
from hal_engine_backfill.conservative import Conservative
from hal_engine_backfill.easy import Easy
from hal_engine_backfill.expansion import Expansion
from hal_engine_backfill.fcfs import Fcfs
from hal_engine_backfill.last_two import LastTwo


def traces() -> Path | None:
    """Where the traces are, if anywhere."""
    folder = os.environ.get("HAL_TRACES")
    return Path(folder) if folder else None


STARVATION_S = 2000.0
"""Of the policy `hal-soon-starved`, so that small traces know starvation."""


def engine_of(policy: str) -> Engine:
    makers: dict[str, Engine] = {
        "fcfs": Fcfs(),
        "easy": Easy(),
        "easy-sjbf": Easy(is_shortest_first=True),
        "conservative": Conservative(),
        "hal": Expansion(60.0, 120 * 3600.0),
        "hal-soon-starved": Expansion(60.0, STARVATION_S),
    }
    return makers[policy]


def expectations_of(estimates: str) -> Expectations:
    if estimates == "last-two":
        return Predicted(LastTwo())
    return Perfect() if estimates == "perfect" else Expectations()


@attrs.frozen
class Setting:
    """What is replayed."""

    policy: str
    estimates: str = "requested"
    correction: str = "request"
    order: EventOrder = EventOrder.TOGETHER


def replay(jobs: Sequence[TraceJob], machine: Machine, setting: Setting) -> list[float]:
    """The start of each job."""
    foresight = Foresight(expectations_of(setting.estimates), CORRECTIONS[setting.correction])
    run = Replay(engine_of(setting.policy), machine, jobs, foresight)
    for _ in run.run(setting.order):
        pass
    return run.start_s


def replay_trace(trace: Trace, setting: Setting) -> tuple[list[float], Figures]:
    start_s = replay(trace.jobs, Machine.pool(trace.processors), setting)
    return start_s, figures_of(trace.jobs, start_s, trace.processors)


def read_trace(name: str) -> Trace:
    folder = traces()
    assert folder is not None, "HAL_TRACES does not say where the traces are"
    with open(folder / f"{name}.swf.gz", "rb") as stream:
        return read_swf(stream)


def published_waits(name: str, column: str) -> dict[int, float]:
    """Job number -> wait, as the authors of the SC'15 study published it."""
    folder = traces()
    assert folder is not None
    with gzip.open(folder / "ref" / f"{name}-waits.csv.gz", "rt", encoding="ascii") as stream:
        return {int(row["id"]): float(row[column]) for row in csv.DictReader(stream)}


ONE_BY_ONE = EventOrder.ONE_BY_ONE
PUBLISHED: dict[str, Setting] = {
    "wait_easy": Setting("easy", order=ONE_BY_ONE),
    "wait_easy_clair": Setting("easy", "perfect", order=ONE_BY_ONE),
    "wait_sjbf_clair": Setting("easy-sjbf", "perfect", order=ONE_BY_ONE),
    "wait_easypp": Setting("easy-sjbf", "last-two", "incremental", ONE_BY_ONE),
}
"""Column of the published waits -> what was replayed for it."""

PUBLISHED_TRACES = ("KTH-SP2-sc15", "SDSC-SP2-sc15")

REFERENCE: dict[str, dict[str, tuple[float, float]]] = {
    "KTH-SP2-sc15": {
        "fcfs": (6814.97, 353776.0),
        "easy": (92.69, 6835.0),
        "easy-sjbf": (69.39, 5904.0),
        "conservative": (88.97, 7316.0),
        "hal": (50.89, 5069.0),
        "easy++": (63.43, 6261.0),
        "easy++, limits once outlived": (62.92, 5655.0),
    },
    "SDSC-SP2-sc15": {
        "fcfs": (13823.53, 1535569.0),
        "easy": (87.81, 20571.0),
        "easy-sjbf": (83.0, 20420.0),
        "conservative": (89.17, 21726.0),
        "hal": (53.13, 17041.0),
        "easy++": (83.70, 24675.0),
        "easy++, limits once outlived": (70.95, 19150.0),
    },
    "lublin_256": {
        "fcfs": (66502.48, 2388444.0),
        "easy": (590.05, 97156.0),
        "easy-sjbf": (219.56, 73394.0),
        "conservative": (489.2, 131568.0),
    },
    "cqgym-Theta-sample-train": {
        "fcfs": (61.9, 34102.0),
        "easy": (7.81, 3953.0),
        "easy-sjbf": (6.71, 3715.0),
        "conservative": (7.66, 4373.0),
    },
    "HPC2N-2002-2.1-cln-firsthalf": {
        "fcfs": (215.93, 10483.0),
        "easy": (44.15, 4682.0),
        "easy-sjbf": (37.82, 4202.0),
        "conservative": (43.77, 4824.0),
        "hal": (23.34, 3031.0),
    },
    "KTH-SP2-1996-2.1-cln": {
        "fcfs": (6818.32, 353950.0),
        "easy": (92.73, 6837.0),
        "easy-sjbf": (69.42, 5906.0),
        "conservative": (89.01, 7319.0),
    },
    "Zewura-2013": {
        "fcfs": (291.84, 29353.0),
        "easy": (137.15, 17063.0),
        "easy-sjbf": (113.38, 14004.0),
        "conservative": (127.65, 16315.0),
    },
    "LLNL-Atlas-2006-2.1-cln": {
        "fcfs": (2.03, 21.0),
        "easy": (1.36, 9.0),
        "easy-sjbf": (1.36, 8.0),
        "conservative": (1.36, 9.0),
    },
}
"""Trace -> policy -> (average bounded slow-down, mean wait), by an independent simulator; all ends and submissions of
an instant come together, the limit is what is planned with, but in EASY++ the mean of the last two jobs."""

EASY_PLUS_PLUS = {
    "easy++": Setting("easy-sjbf", "last-two", "incremental"),
    "easy++, limits once outlived": Setting("easy-sjbf", "last-two"),
}


def setting_of(policy: str) -> Setting:
    """What a policy of REFERENCE is replayed with."""
    return EASY_PLUS_PLUS.get(policy) or Setting(policy)
