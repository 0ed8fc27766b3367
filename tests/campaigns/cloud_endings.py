"""Rented machines that nobody ends: the daemon is killed, and each ends by itself when its lease is over. Real agents
on machines of moto's EC2 (tests/support/booted.py). It takes about as long as a lease.

One just runs a job, one was rebooted before, one boots when there is no daemon any more, so that it never joins. Each
asks to be shut down, no earlier than its lease says and no later than a minute after, and jobs are told before.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.campaigns.common import Campaign, Figures, progress
from tests.support.booted import REBOOT, Ec2
from tests.support.hal_services import DAEMON
from tests.support.rented import RentedCluster

LATE_S_MAX = 60.0
"""The script gives the agent half a minute, and looks every ten seconds."""
PATIENCE_S = 300.0
JOB = """trap 'date +%s > "$0.told"; exit 0' TERM
date +%s > "$0.runs"
while :; do sleep 0.2; done
"""


def measure(campaign: Campaign) -> Figures:
    with RentedCluster(count_max=3, cpus=1, lease_s=campaign.given.lease) as hal:
        try:
            return run(campaign, hal)
        except BaseException:
            progress(hal.booted.logs()[-20_000:])
            raise


def run(campaign: Campaign, hal: RentedCluster) -> Figures:
    ec2, lease_s = Ec2(hal.moto.port), campaign.given.lease
    begin_s = time.time()
    made = hal.provision(2)
    hal.until_up(2)
    boot_ids = {each: (each / "boot-id").read_text() for each in hal.booted.machines()}
    hal.booted.let(made[1].native_id, REBOOT)
    hal.tree.until("one has booted again", lambda: any(is_other(*each) for each in boot_ids.items()), 60, hal.watched)
    hal.tree.until("its agent is there again", lambda: count_of(hal, "connected to the daemon") == 3, 60, hal.watched)
    for number in range(2):
        hal.submit("sh", "-c", JOB, str(hal.work / str(number)), options=[("time", "60")])
    hal.tree.until("both jobs run", lambda: len(list(hal.work.glob("*.runs"))) == 2, 60, hal.watched)
    hal.kill(DAEMON)
    late_s = time.time()
    hal.provision(1, "t2")
    ends: dict[str, float] = {}

    def all_ended() -> bool:
        for each in hal.booted.machines():
            if (each / "shutdown").exists():
                ends.setdefault(each.name, time.time())
        return len(ends) == 3 and not ec2.running()

    hal.tree.until("all have ended", all_ended, lease_s + PATIENCE_S)
    after = {name: at_s - (late_s if name.endswith("-2") else begin_s) - lease_s for name, at_s in ends.items()}
    # Minus a second: the lease is counted from when the machine was asked for, and written in whole seconds.
    campaign.problems += [f"{name} ended {-each:.0f} s too early" for name, each in after.items() if each < -2.0]
    campaign.problems += [f"{name} ended {each:.0f} s too late" for name, each in after.items() if each > LATE_S_MAX]
    told = [float(each.read_text()) for each in hal.work.glob("*.told")]
    if len(told) != 2:
        campaign.problems.append(f"{2 - len(told)} jobs were not told")
    return {
        "lease_s": lease_s,
        "ended_after_lease_s": {name[-1]: round(each, 1) for name, each in after.items()},
        "jobs_told_before_s": [round(begin_s + lease_s - each, 1) for each in told],
        "by_agent": count_of(hal, "the lease of this machine is over"),
        "by_script": count_of(hal, "this machine ends: its lease is over"),
    }


def is_other(machine: Path, boot_id: str) -> bool:
    return (machine / "boot-id").read_text() != boot_id


def count_of(hal: RentedCluster, text: str) -> int:
    """In all that the machines have written."""
    return hal.booted.logs().count(text)


def main() -> None:
    campaign = Campaign("cloud_endings", __doc__)
    campaign.parser.add_argument("--lease", type=float, default=150.0, help="of each machine, in seconds")
    campaign.main(measure)


if __name__ == "__main__":
    main()
