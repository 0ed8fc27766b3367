"""Plugins that turn bad while jobs run: a real daemon with an engine, an observer, a predictor, an executor and a
locality of which one, after some calls, raises, ends the process, computes or blocks without end, returns garbage or
eats its cancellation.

Every job ends, nothing is lost, and the daemon's loop is held up no longer than by the wall's alarm. Each turn draws
the plane, the misdeed and the call at which it begins. An engine's, an executor's and a locality's misdeed is done
once, an observer's and a predictor's for good: those are switched off. The executor is `metal`, with orders of its own;
the job whose input the locality was to bring is told what went wrong, and fails.
"""

from __future__ import annotations

import random
import re
import socket
import textwrap
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.campaigns.common import Campaign, Figures, progress
from tests.support.hal_services import HalServices

MISDEEDS: Final = ("raises", "exits", "computes", "blocks", "garbage", "eats")
PLANES: Final = ("engine", "observer", "predictor", "executor", "locality")
CONFIGURATION: Final = (
    "engine: {name: mutant}\nobservers: {mutant: {}}\npredictors: {mutant: {}}\nlocalities: {mutant: {}}\n"
)
JOB_COUNT: Final = 60
STALL_S_MAX: Final = dict.fromkeys(PLANES, 0.1) | {"observer": 0.6}
"""An observer is switched off for good, and given half a second before."""
PLUGIN: Final = """
import os, time
import trio
from hal_core import PluginInfo, hookimpl
from hal_engine_backfill.easy import Easy

__hal_plugin__ = PluginInfo(sdk=1, summary="turns bad")
PLANE, MISDEED, FIRST, COUNT = os.environ["HAL_MUTANT"].split()
calls = 0

def is_bad(plane):
    global calls
    if plane != PLANE:
        return False
    calls += 1
    if not int(FIRST) <= calls < int(FIRST) + int(COUNT):
        return False
    open(os.path.join(os.path.dirname(__file__), "begun"), "a").close()
    return True

def misbehave():
    if MISDEED == "raises":
        raise RecursionError("deep")
    if MISDEED == "exits":
        raise SystemExit(3)
    if MISDEED == "computes":
        while True:
            pass
    if MISDEED == "blocks":
        time.sleep(3600)
    return ["garbage", object()]

class Engine(Easy):
    def plan(self, snapshot):
        return misbehave() if is_bad("engine") else super().plan(snapshot)

class Observer:
    async def record(self, first_sequence, events):
        if is_bad("observer"):
            while MISDEED == "eats":
                try:
                    await trio.sleep(3600)
                except trio.Cancelled:
                    pass
            misbehave()

def turned_bad(order):
    async def ordered(self, node, orders):
        if is_bad("executor"):
            misbehave()
        return await order(self, node, orders)
    return ordered

if PLANE == "executor":
    from hal_executor_metal.executor import MetalExecutor
    MetalExecutor.launch, MetalExecutor.forget = map(turned_bad, (MetalExecutor.launch, MetalExecutor.forget))

class Locality:
    def recognises(self, dataset):
        return dataset.startswith("mutant:")
    async def locate(self, datasets):
        return [()] * len(datasets)
    async def stage(self, dataset, nodes):
        return misbehave() if is_bad("locality") else 0
    async def evict(self, dataset, node):
        pass
    def cost(self, replica, node):
        return 0.0, 0.0

class Predictor:
    def predict(self, jobs):
        return misbehave() if is_bad("predictor") else [None] * len(jobs)
    def learn(self, outcomes):
        return ()

@hookimpl
def hal_register_engines(register):
    register("mutant", lambda options: Engine(), "")

@hookimpl
def hal_register_observers(register):
    register("mutant", lambda options: Observer(), "")

@hookimpl
def hal_register_localities(register):
    register("mutant", lambda options: Locality(), "")

@hookimpl
def hal_register_predictors(register):
    register("mutant", lambda options: Predictor(), "")
"""


def measure(campaign: Campaign) -> Figures:
    draw = random.Random(campaign.seed)
    latest_s, busiest_s = 0.0, 0.0
    for turn in range(campaign.given.turns):
        plane, misdeed = draw.choice(campaign.given.planes.split(",")), draw.choice(MISDEEDS)
        first = draw.randint(1, 4)
        what = f"{plane} {misdeed} from call {first} on"
        progress(f"turn {turn + 1} of {campaign.given.turns}: {what}")
        count = 10**9 if plane in ("observer", "predictor") else 1
        late_s, busy_s = run(campaign, f"{plane} {misdeed} {first} {count}", what)
        latest_s, busiest_s = max(latest_s, late_s), max(busiest_s, busy_s)
        if busy_s > STALL_S_MAX[plane]:
            campaign.problems.append(f"{what}: the loop computed for {busy_s:.3f} s")
    return {"turns": campaign.given.turns, "late_s_max": round(latest_s, 3), "loop_cpu_s_max": round(busiest_s, 3)}


def run(campaign: Campaign, mutant: str, what: str) -> tuple[float, float]:
    """How late the loop was at most, and how long it computed at most."""
    with TemporaryDirectory() as site:
        install(Path(site))
        hal = HalServices(node_count=2, cpus=8, more_configuration=CONFIGURATION)
        hal.extra_environment |= {"PYTHONPATH": site, "HAL_MUTANT": mutant}
        with hal:
            for _ in range(JOB_COUNT // 10):
                hal.submit_bulk([["/bin/true"]] * 10, [("inputs", "mutant:data")])
            hal.wait_until_done(timeout_s=300.0)
            states = [job["state"].lower() for job in hal.get(f"/v1/history?limit={JOB_COUNT}")["entries"]]
            failed = 1 if mutant.startswith("locality") else 0
            if sorted(states) != ["completed"] * (JOB_COUNT - failed) + ["failed"] * failed:
                campaign.problems.append(f"{what}: of {JOB_COUNT} jobs {states.count('completed')} completed")
            if not (Path(site) / "begun").exists():
                campaign.problems.append(f"{what}: it was not called so often, and this turn shows nothing")
            metrics = metrics_of(hal)
    late, busy = (
        re.search(rf"^hal_loop_late_seconds_{name} (\S+)", metrics, re.MULTILINE) for name in ("max", "cpu_max")
    )
    assert late is not None
    assert busy is not None
    return float(late[1]), float(busy[1])


def metrics_of(hal: HalServices) -> str:
    connection = HTTPConnection("hal")
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(str(hal.socket))
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def install(site: Path) -> None:
    (site / "hal_mutant.py").write_text(textwrap.dedent(PLUGIN))
    info = site / "hal_mutant-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hal-mutant\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hal]\nmutant = hal_mutant\n")


if __name__ == "__main__":
    campaign = Campaign("bad_plugins", __doc__)
    campaign.parser.add_argument("--turns", type=int, default=30, help="daemons with a plugin that turns bad")
    campaign.parser.add_argument("--planes", default=",".join(PLANES), help=f"of {','.join(PLANES)}")
    campaign.main(measure)
