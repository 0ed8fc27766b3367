"""The daemon rents machines that are real agents, from an empty pool, and is killed again and again meanwhile.

`.venv/bin/python -m tests.campaigns.rented [--jobs 200] [--machines 6] [--kills 5] [--json]`. Machines are those of the
static cloud: processes on this machine, which outlive the daemon. Every job must end well, once; in the end nothing is
rented, no process is left, each instance that was started is gone, and what was spent and committed was never more than
the budget. Exit code 1 otherwise.
"""

from __future__ import annotations

import random
import time

from tests.campaigns.common import Campaign, Figures, progress
from tests.support.hal_rented import HalRented

TIMEOUT_S = 900.0
BUDGET = 2.0
"""Of each instance 0.06 is committed: a boot of at most 120 s, a limit of a minute and some spare, at 0.5 an hour."""


def measure(campaign: Campaign) -> Figures:
    given, chance = campaign.given, random.Random(campaign.seed)
    terms = f"    budget: {BUDGET}\n    count_max: {given.machines}"
    with HalRented(rented=given.machines, terms=terms) as hal:
        begin_s = time.perf_counter()
        hal.submit("/bin/sleep", "0.2", options=[("array", f"0-{given.jobs - 1}"), ("time", "1")])
        kills = most = 0

        def is_over() -> bool:
            """Looks at the pool, and now and then kills the daemon."""
            nonlocal kills, most
            pool = hal.pool()
            most = max(most, pool["count"])
            if pool["spent"] + pool["committed"] > BUDGET:
                campaign.problems.append(f"{pool['spent']} spent and {pool['committed']} committed of {BUDGET}")
            if kills < given.kills and chance.random() < 0.2:
                kills += 1
                progress(f"kill {kills}, with {pool['count']} instances")
                hal.kill("daemon")
                hal.start_service("daemon")
                hal.wait_until_ready()
            return not hal.active_count() and not hal.pool()["instances"]

        hal.tree.until("all is served and given back", is_over, TIMEOUT_S, [], interval_s=0.2)
        took_s = time.perf_counter() - begin_s
        counts, spent = hal.counts(), hal.pool()["spent"]
        started = [each["instance"] for event in hal.events("InstancesStarted") for each in event["started"]]
        gone = [event["instance"] for event in hal.events("InstanceGone")]
        attempts = len(hal.events("PartStarted"))
        left = [member.pid for member in hal.members("hal_core.cli agent")]
    if counts != {"COMPLETED": given.jobs}:
        campaign.problems.append(f"of {given.jobs} jobs: {counts}")
    if sorted(started) != sorted(gone):
        campaign.problems.append(f"started: {started}; gone: {gone}")
    if attempts != given.jobs:
        campaign.problems.append(f"{attempts} attempts ran")
    if left:
        campaign.problems.append(f"processes are left: {left}")
    return {
        "jobs": given.jobs,
        "kills": kills,
        "instances": len(started),
        "instances_at_once": most,
        "spent": round(spent, 4),
        "budget": BUDGET,
        "served_and_empty_after_s": round(took_s, 1),
    }


def main() -> None:
    campaign = Campaign("rented", __doc__)
    campaign.parser.add_argument("--jobs", type=int, default=200)
    campaign.parser.add_argument("--machines", type=int, default=6)
    campaign.parser.add_argument("--kills", type=int, default=5)
    campaign.main(measure)


if __name__ == "__main__":
    main()
