"""Simulate the whole kernel on virtual time while everything goes wrong: is every promise kept after every event?

`.venv/bin/python -m tests.campaigns.kernel_sim [--seeds 1000] [--hours 1] [--seed FIRST] [--json]`. Each seed is a
cluster of its own with people, a daemon on the production core, agents, a network and disks, and a random subset of
faults (tests/support/kernel_sim). Seed N is repeated by `--seed N --seeds 1` with the same `--hours`; a seed gives the
same events always, which each hundredth seed shows by a second run.

`--planted NAME` plants one of the known bugs (tests/support/kernel_sim/planted.py) into this process and tells after
how many seeds it is caught; `--all-planted` does so with each, in processes of their own. Exit code 1 if a promise was
broken, or with planted bugs if more than one of thirty is not caught.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.campaigns.common import Campaign, Figures, progress
from tests.support.kernel_sim.planted import PLANTED, plant

ROOT = Path(__file__).parents[2]
TWICE_EVERY = 100
PROGRESS_EVERY = 50
CAUGHT_SHARE = 29 / 30


def simulate(seed: int, hours: float) -> tuple[str, str, Counter[str]]:
    """(what was broken or nothing, the digest of the journal, what happened how often)."""
    from tests.support.kernel_sim.world import World  # not before a bug is planted

    world = World(seed, hours)
    try:
        world.run()
        broken = ""
    except AssertionError as error:
        broken = str(error) or "an assertion without a word"
    except Exception as error:  # noqa: BLE001 - a bug of HAL may show in any way
        broken = f"{type(error).__name__}: {error}"
    return broken, world.journal.digest, world.counts


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    if given.all_planted:
        return plant_all(campaign)
    if given.planted:
        plant(given.planted)
        return catch(campaign.seed, given.seeds, given.hours)
    counts: Counter[str] = Counter()
    for number in range(given.seeds):
        seed = campaign.seed + number
        broken, digest, happened = simulate(seed, given.hours)
        counts += happened
        if broken:
            campaign.problems.append(f"seed {seed}: {broken}")
            progress(campaign.problems[-1])
        elif number % TWICE_EVERY == 0 and simulate(seed, given.hours)[1] != digest:
            campaign.problems.append(f"seed {seed}: a second run gave other events")
        if (number + 1) % PROGRESS_EVERY == 0:
            progress(f"{number + 1} seeds, {counts['events']} events, {len(campaign.problems)} problems")
    return {"seeds": given.seeds, "hours": given.seeds * given.hours, "happened": dict(sorted(counts.items()))}


def catch(first: int, seeds: int, hours: float) -> Figures:
    """Seed after seed, until the planted bug is caught."""
    for number in range(seeds):
        broken = simulate(first + number, hours)[0]
        if broken:
            return {"caught_after": number + 1, "caught_by": broken[:200]}
    return {"caught_after": None}


def plant_all(campaign: Campaign) -> Figures:
    given = campaign.given
    found: dict[str, Any] = {}
    for name in PLANTED:
        argv = [sys.executable, "-m", "tests.campaigns.kernel_sim", "--planted", name, "--json"]
        argv += ["--seeds", str(given.seeds), "--hours", str(given.hours), "--seed", str(campaign.seed)]
        done = subprocess.run(argv, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout)
        found[name] = figures["caught_after"]
        progress(f"{name}: {figures['caught_after'] or 'NOT CAUGHT'} {figures.get('caught_by', '')}")
    missed = [name for name, after in found.items() if after is None]
    if len(missed) > len(found) - math.ceil(len(found) * CAUGHT_SHARE):
        campaign.problems += [f"not caught within {given.seeds} seeds: {name}" for name in missed]
    return {"planted": len(found), "caught": len(found) - len(missed), "after_seeds": found}


if __name__ == "__main__":
    mine = Campaign("kernel_sim", __doc__)
    mine.parser.add_argument("--seeds", type=int, default=1000, help="default: 1000")
    mine.parser.add_argument("--hours", type=float, default=1.0, help="simulated hours of each seed (default: 1)")
    mine.parser.add_argument("--planted", choices=PLANTED, default="", metavar="NAME", help="plant this bug")
    mine.parser.add_argument("--all-planted", action="store_true", help="plant each of the known bugs")
    mine.main(measure)
