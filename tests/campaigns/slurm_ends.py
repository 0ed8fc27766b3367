"""Jobs of every kind through the bridge and a real Slurm, in waves, by both ways in turn: HAL says of each the state
and exit code that `sacct -P` says. In each wave one reaches its time limit; each way has an array of a thousand, too.
"""

from __future__ import annotations

import trio

from hal_core import ArraySpec, LaunchOrder
from tests.benchmarks.slurm_bridge import KIND_COUNT, bridge
from tests.campaigns.common import Campaign, Figures, progress
from tests.support.slurm import SlurmCluster
from tests.support.slurm_bench import N1, SlurmBench, every_kind

WAVE_COUNT = 25 * KIND_COUNT
WAYS = ("rest", "commands")
LATE, ARRAY = 1_000_000, 1_000_001
"""Ids of the job that is late and of the array, beyond all others."""


async def compare(slurm: SlurmCluster, count: int, campaign: Campaign, element_count: int = 0) -> Figures:
    """So many jobs, and an array of so many elements by each way."""
    compared = difference_count = 0
    for wave, first in enumerate(range(0, count, WAVE_COUNT)):
        size = min(WAVE_COUNT, count - first)
        progress(f"{first} of {count} jobs compared; {size} more by {WAYS[wave % 2]}")
        async with bridge(slurm, WAYS[wave % 2]) as bench:
            orders = [each for number in range(-(-size // KIND_COUNT)) for each in every_kind(bench, number * 100 + 1)]
            orders.append(bench.order(LATE, "exec sleep 1000", output_pattern="/dev/null", walltime_s=60.0))
            orders += _array(bench, element_count if wave < len(WAYS) else 0)
            await bench.executor.launch(N1, orders)
            await bench.ends(orders, patience_s=180 + 4.0 * len(orders))
            for key, (ours, theirs) in (await bench.differences(orders)).items():
                difference_count += 1
                campaign.problems.append(f"wave {wave}, {key}: HAL says {ours}, sacct says {theirs}")
            compared += len(orders)
    return {"jobs": compared, "state_differences": difference_count}


def _array(bench: SlurmBench, element_count: int) -> list[LaunchOrder]:
    given = {"array": ArraySpec(((0, element_count),)), "output_pattern": "/dev/null"}
    return [bench.order(ARRAY, "exit $((HAL_ARRAY_INDEX % 3))", index, **given) for index in range(element_count)]


def measure(campaign: Campaign) -> Figures:
    with SlurmCluster(node_count=4, cpus=8, gpus=2, has_accounting=True, has_rest=True) as slurm:
        return trio.run(compare, slurm, campaign.given.jobs, campaign, campaign.given.elements)


def main() -> None:
    campaign = Campaign("slurm_ends", __doc__)
    campaign.parser.add_argument("--jobs", type=int, default=5000)
    campaign.parser.add_argument("--elements", type=int, default=1000, help="of an array by each way (default: 1000)")
    campaign.main(measure)


if __name__ == "__main__":
    main()
