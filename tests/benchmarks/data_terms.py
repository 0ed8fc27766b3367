"""What data costs a scheduling pass: a long queue on 10,000 nodes, each with one of 100,000 datasets, or none.

python -m tests.benchmarks.data_terms [--json]

The same state is planned on twice, with and without inputs, in turns; CPU time, the least of some rounds. A fifth of
the datasets are on one to eight nodes. The tiers of a dataset are made as they are asked for. Wanted: at most 20 %.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from random import Random

import attrs

from hal_core.models.masks import mask_of
from hal_core.models.plan import PendingJob, Plan, Snapshot
from hal_core.models.staging import Tier, Tiers, tiers_of
from hal_core.rules.core import Core
from tests.benchmarks import common
from tests.benchmarks.engine import NODE_COUNT, large_state
from tests.support.replays import engine_of

DATASET_COUNT = 100_000
FAR_S = 600.0
ROUNDS = 5
NOW_S = 200_000.0


class WithData:
    """A snapshot whose jobs have inputs."""

    def __init__(self, snapshot: Snapshot, holders: list[tuple[int, ...]]) -> None:
        self._snapshot = snapshot
        self._holders = holders
        self._tiers: dict[tuple[str, ...], Tiers] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._snapshot, name)

    def pending(self) -> Iterator[PendingJob]:
        for job in self._snapshot.pending():
            yield attrs.evolve(job, inputs=(str(job.job_id % DATASET_COUNT),))

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        tiers = self._tiers.get(inputs)
        if tiers is None:
            numbers = self._holders[int(inputs[0])]
            near = {(0.0, 0.0): mask_of(numbers)} if numbers else {}
            tiers = self._tiers[inputs] = tiers_of(near, Tier(-1, FAR_S))
        return tiers


class WithoutData(WithData):
    """The same rows are made, and the inputs are nowhere known: what is left is the cost of the terms."""

    def stage_in(self, inputs: tuple[str, ...]) -> Tiers:
        return ()


def measure(given: argparse.Namespace) -> common.Figures:
    random = Random(1)
    holders = [
        tuple(random.sample(range(NODE_COUNT), random.randint(1, 8))) if random.random() < 0.2 else ()
        for _ in range(DATASET_COUNT)
    ]
    figures: common.Figures = {}
    for policy in ("hal", "easy"):
        core = Core(engine_of(policy), policy, large_state(None))
        for title in ("empty", "full"):
            least = {kind.__name__: min(_pass_s(core, kind, holders) for _ in range(ROUNDS)) for kind in KINDS}
            extra = least["WithData"] / least["WithoutData"] - 1
            figures[f"{policy}_{title}"] = {
                "with_ms": common.milliseconds(least["WithData"]),
                "without_ms": common.milliseconds(least["WithoutData"]),
                "extra": round(extra, 3),
            }
            core.plan(NOW_S)
    return figures


KINDS = (WithoutData, WithData)


def _pass_s(core: Core, kind: type[WithData], holders: list[tuple[int, ...]]) -> float:
    snapshot = kind(core.state.snapshot(NOW_S), holders)
    started_s = time.process_time()
    plan: Plan = core.engine.plan(snapshot)  # type: ignore[arg-type]  # it passes everything else on
    elapsed_s = time.process_time() - started_s
    assert plan.depth
    return elapsed_s


def main() -> int:
    gc.disable()
    common.run(__doc__, measure, common.parser_of("data_terms"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
