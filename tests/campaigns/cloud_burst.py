"""A burst on machines that really boot: moto's EC2 lists instances, the user data of each is run in namespaces of its
own, agents enrol over TLS, jobs run there. From an empty pool to zero, with HAL's daemon renting (--by pool), or with
the provider asked directly (--by fleet). Some of the machines never join, join twice, vanish, or are taken back.

At the end all jobs are completed, no instance runs, no machine does, and no credential and no join token is in a
command line, a job's environment, a log, a record or the journal.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.campaigns.common import Campaign, Figures, progress
from tests.support.booted import NEVER, TWICE, VANISH, Ec2
from tests.support.metadata_service import MetadataService
from tests.support.rented import CANARY, RentedCluster, command_lines

TOKEN = "hal-join-1."
PATIENCE_S = 1200.0
NOTICE_S = 25.0
"""AWS gives two minutes."""


class Burst:
    """One run."""

    def __init__(self, campaign: Campaign, hal: RentedCluster, service: MetadataService) -> None:
        self.service = service
        self.given = campaign.given
        self.problems = campaign.problems
        self.chance = random.Random(campaign.seed)
        self.hal = hal
        self.ec2 = Ec2(hal.moto.port)
        self.seen: set[str] = set()
        self.leaks: set[str] = set()
        self.vanished = 0
        self.taken_s: dict[str, float] = {}
        """Instances that are taken back, and when."""
        self.told: dict[str, str] = {}
        """Their addresses, while they are there."""

    def run(self) -> Figures:
        hal = self.hal
        for what, count in ((NEVER, self.given.never), (TWICE, self.given.twice)):
            for _ in range(count):
                hal.booted.next(what)
        if self.ec2.running():
            self.problems.append("there are instances before there is a job")
        begin_s = time.monotonic()
        command = ("sh", "-c", f"env; sleep {self.given.seconds}")
        output = str(hal.work / "%a.out")
        array = f"0-{self.given.jobs - 1}"
        hal.submit(*command, options=[("array", array), ("time", "10"), ("requeue", ""), ("output", output)])
        with self._rented():
            hal.tree.until("all jobs ended", self._are_jobs_over, PATIENCE_S, hal.watched, interval_s=0.5)
            done_s = time.monotonic() - begin_s
        hal.tree.until("nothing is rented", lambda: not self._running(), PATIENCE_S, hal.watched, interval_s=0.5)
        hal.until_gone()
        zero_s = time.monotonic() - begin_s
        self._judge()
        return {
            "by": self.given.by,
            "provider": hal.provider,
            "jobs": hal.counts(),
            "instances": len(self.seen),
            "machines": len(hal.booted.machines()),
            "vanished": self.vanished,
            "taken_back": len(self.taken_s),
            "requeued": self._requeued(),
            "left": len(self._running()),
            "jobs_done_s": round(done_s, 1),
            "zero_s": round(zero_s, 1),
        }

    @contextmanager
    def _rented(self) -> Iterator[None]:
        """Without a pool the machines are there from now until the end of this block."""
        if self.given.by == "pool":
            yield
            return
        made = self.hal.provision(self.given.machines)
        yield
        self.hal.release(*(each.native_id for each in made))

    def _running(self) -> list[str]:
        running = self.ec2.running()
        self.seen.update(running)
        return running

    def _are_jobs_over(self) -> bool:
        running = self._running()
        self.leaks.update(line for line in command_lines().splitlines() if CANARY in line or TOKEN in line)
        counts = self.hal.counts()
        progress(f"{counts}, {len(running)} instances")
        if self.vanished < self.given.vanish and counts.get("RUNNING", 0) and running:
            self.vanished += 1
            self.hal.booted.let(self.chance.choice(running), VANISH)
        self._take_back(running)
        return self.hal.active_count() == 0

    def _take_back(self, running: list[str]) -> None:
        """One at a time gets a notice, and goes when its time is over."""
        now_s = time.monotonic()
        for native_id, at_s in self.taken_s.items():
            if native_id in running and at_s < now_s:
                self.hal.booted.let(native_id, VANISH)
        for native_id in self.told.keys() - set(running):
            self.service.withdraw(self.told.pop(native_id))
        is_busy = self.hal.counts().get("RUNNING", 0) > 0
        if len(self.taken_s) < self.given.interrupt and is_busy and not set(self.taken_s) & set(running):
            native_id = self.chance.choice(running)
            self.told[native_id] = self.hal.booted.address_of(native_id)
            self.service.interrupt(NOTICE_S, self.told[native_id])
            self.taken_s[native_id] = now_s + NOTICE_S

    def _requeued(self) -> dict[str, int]:
        """By whom, how many attempts were queued again."""
        events = map(json.loads, self.hal.run("events", "--after", "0", "--json").stdout.splitlines())
        return dict(Counter(each["data"]["by"] for each in events if each["event"] == "JobRequeued"))

    def _judge(self) -> None:
        counts = self.hal.counts()
        if counts != {"COMPLETED": self.given.jobs}:
            self.problems.append(f"of {self.given.jobs} jobs: {counts}")
        self.problems += [f"in a command line: {line}" for line in sorted(self.leaks)]
        for path, content in self.hal.everything_written().items():
            self.problems += [f"{word} is in {path}" for word in (CANARY, TOKEN) if word.encode() in content]
        if len(self.hal.booted.machines()) < len(self.seen):
            self.problems.append("not every instance was booted")


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    service = MetadataService("0.0.0.0")
    hal = RentedCluster(
        count_max=given.machines, cpus=given.cpus, provider=given.provider, is_pool=given.by == "pool",
        notices_port=service.port,
    )  # fmt: skip
    with service, hal:
        try:
            return Burst(campaign, hal, service).run()
        except BaseException:
            progress(hal.booted.logs()[-20_000:])
            progress(hal.log.read_text(errors="replace")[-10_000:])
            raise


def main() -> None:
    campaign = Campaign("cloud_burst", __doc__)
    campaign.parser.add_argument("--jobs", type=int, default=200)
    campaign.parser.add_argument("--seconds", type=float, default=1.0, help="how long each job runs")
    campaign.parser.add_argument("--machines", type=int, default=6, help="so many at most")
    campaign.parser.add_argument("--cpus", type=int, default=4, help="of each machine")
    campaign.parser.add_argument("--by", choices=["pool", "fleet"], default="pool")
    campaign.parser.add_argument("--provider", choices=["aws", "libcloud"], default="aws")
    campaign.parser.add_argument("--never", type=int, default=0, help="so many machines never join")
    campaign.parser.add_argument("--twice", type=int, default=0, help="so many join twice")
    campaign.parser.add_argument("--vanish", type=int, default=0, help="so many vanish while jobs run")
    campaign.parser.add_argument("--interrupt", type=int, default=0, help="so many are taken back, with notice")
    campaign.main(measure)


if __name__ == "__main__":
    main()
