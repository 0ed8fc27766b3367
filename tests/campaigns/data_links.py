"""Jobs on several hosts read datasets that are behind one slow link: whether each byte crosses it once, and how fast.

Each host is a network namespace with an agent; the datasets are on a web server in another one, whose link is limited
by a token bucket. Every job computes the digest of what it was given.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from itertools import pairwise

import attrs

from tests.campaigns.common import Campaign, Figures, progress
from tests.support.data_hosts import DataHosts

OVERHEAD = 1.1
"""What TCP, IP and HTTP add to the bytes of the files, and the answers to everything else, at most."""
PATIENCE_S = 3600.0
IDLE_SHARE = 0.05
"""A moment in which less of the rate than this was used is one in which nothing was to be sent."""


@attrs.frozen
class Load:
    node_count: int
    dataset_count: int
    job_count: int
    dataset_bytes: int
    rate_bits: int
    budget: str
    """Of each node's store."""


def read_all(load: Load, seed: int) -> tuple[Figures, list[str]]:
    """The figures of one run, and which promises were broken."""
    chance = random.Random(seed)
    with DataHosts(node_count=load.node_count, cpus=1, rate_bits=load.rate_bits, budget=load.budget) as hal:
        names = [f"d{number}" for number in range(load.dataset_count)]
        for name in names:
            hal.add(name, os.urandom(load.dataset_bytes))
        before = hal.crossings()[-1][1] if hal.crossings() else 0
        wanted = [names[at % len(names)] for at in range(load.job_count)]
        chance.shuffle(wanted)
        jobs = [(hal.submit_reader(name, chance.uniform(0.0, 2.0)), name) for name in wanted]
        hal.wait_until_done(PATIENCE_S)
        problems = [
            f"job {job_id} found {hal.said(job_id) or 'nothing'} in {name}"
            for job_id, name in jobs
            if hal.said(job_id) != hal.digests[name]
        ]
        receipts = [hal.get(f"/v1/jobs/{job_id}/receipt") for job_id, _ in jobs]
        crossings = hal.crossings()
    total = load.dataset_bytes * load.dataset_count
    crossed = crossings[-1][1] - before
    moved = sum(each["bytes_moved"] for each in receipts)
    figures = {
        **attrs.asdict(load),
        "dataset_bytes_total": total,
        "crossed_bytes": crossed,
        "crossed_per_byte": round(crossed / total, 3),
        "moved_bytes": moved,
        "saved_bytes": sum(each["bytes_saved"] for each in receipts),
        "rate_share_while_used": round(share_of_rate(crossings, load.rate_bits / 8), 3),
        "right_digests": len(jobs) - len(problems),
    }
    if crossed > total * OVERHEAD:
        problems.append(f"{crossed} bytes crossed the slow link for {total}")
    return figures, problems


def share_of_rate(crossings: Sequence[tuple[float, int]], bytes_per_s: float) -> float:
    """How much of the link's rate was used while it was used at all. Idle moments are not in the samples' sums."""
    used_s, sent = 0.0, 0
    for (begin_s, begin), (end_s, end) in pairwise(crossings):
        passed_s = end_s - begin_s
        if end - begin > IDLE_SHARE * bytes_per_s * passed_s:
            used_s += passed_s
            sent += end - begin
    return sent / used_s / bytes_per_s if used_s else 0.0


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    sizes = given.megabytes * 10**6, given.megabits * 10**6, given.budget
    load = Load(given.nodes, given.datasets, given.jobs, *sizes)
    progress(f"{load}")
    figures, problems = read_all(load, campaign.seed)
    campaign.problems += problems
    if figures["rate_share_while_used"] < 0.9:
        campaign.problems.append(f"only {figures['rate_share_while_used']:.0%} of the link's rate was used")
    return figures


if __name__ == "__main__":
    campaign = Campaign("data_links", __doc__)
    campaign.parser.add_argument("--nodes", type=int, default=8)
    campaign.parser.add_argument("--datasets", type=int, default=10)
    campaign.parser.add_argument("--jobs", type=int, default=50)
    campaign.parser.add_argument("--megabytes", type=int, default=100, help="of each dataset")
    campaign.parser.add_argument("--megabits", type=int, default=100, help="of the slow link, in a second")
    campaign.parser.add_argument("--budget", default="100G", help="of each node's store")
    campaign.main(measure)
