"""Jobs of every kind through the bridge and a real Slurm, in waves, by both ways in turn: HAL says of each the state
and exit code that `sacct -P` says.
"""

from __future__ import annotations

import trio

from tests.benchmarks.slurm_bridge import KIND_COUNT, bridge
from tests.campaigns.common import Campaign, Figures, progress
from tests.support.slurm import SlurmCluster
from tests.support.slurm_bench import N1, every_kind

WAVE_COUNT = 25 * KIND_COUNT
WAYS = ("rest", "commands")


async def compare(slurm: SlurmCluster, count: int, campaign: Campaign) -> Figures:
    compared = 0
    for wave, first in enumerate(range(0, count, WAVE_COUNT)):
        size = min(WAVE_COUNT, count - first)
        progress(f"{first} of {count} jobs compared; {size} more by {WAYS[wave % 2]}")
        async with bridge(slurm, WAYS[wave % 2]) as bench:
            orders = [each for number in range(-(-size // KIND_COUNT)) for each in every_kind(bench, number * 100 + 1)]
            await bench.executor.launch(N1, orders)
            await bench.ends(orders, patience_s=60 + 4.0 * size)
            for key, (ours, theirs) in (await bench.differences(orders)).items():
                campaign.problems.append(f"wave {wave}, {key}: HAL says {ours}, sacct says {theirs}")
            compared += len(orders)
    return {"jobs": compared, "state_differences": len(campaign.problems)}


def measure(campaign: Campaign) -> Figures:
    with SlurmCluster(node_count=4, cpus=8, gpus=2, has_accounting=True, has_rest=True) as slurm:
        return trio.run(compare, slurm, campaign.given.jobs, campaign)


def main() -> None:
    campaign = Campaign("slurm_ends", __doc__)
    campaign.parser.add_argument("--jobs", type=int, default=5000)
    campaign.main(measure)


if __name__ == "__main__":
    main()
