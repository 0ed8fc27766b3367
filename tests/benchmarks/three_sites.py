"""Three sites, datasets by Zipf's law: HAL's data plane against placement that is blind to data, with the same caches.

python -m tests.benchmarks.three_sites [--jobs N] [--json]

Both replays have the same jobs, engine and node caches, which fill from the nearest copy over links that are
shared. The blind engine is not told where data is, and nothing is brought ahead. Wanted: at least 50 % fewer bytes
over the wide area, 20 % shorter mean completion, and 70 % of transfer time hidden in queue wait. `hideable_fraction` is
what can be hidden at most with these starts: had each transfer begun when its job was submitted. One row for each seed.
"""

from __future__ import annotations

import argparse
import sys

from hal_core.sim.data import Data, DataFigures, DataMode, data_figures
from hal_core.sim.expectations import CORRECTIONS
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from hal_core.sim.stores import StoreKind, Stores
from hal_core.sim.zipf import Zipf
from tests.benchmarks import common
from tests.support.replays import engine_of, expectations_of

SEEDS = (1, 2, 3)


def replayed(model: Zipf, policy: str, is_blind: bool) -> tuple[DataFigures, int, float]:
    """The figures, bytes over the wide area, and mean completion in seconds."""
    trace = model.trace()
    cluster = model.cluster()
    data = Data.of(DataMode.CACHE, cluster, trace)
    if is_blind:
        data = Data(Stores(StoreKind.CACHE, cluster, trace), is_shown=False, is_brought_ahead=False)
    foresight = Foresight(expectations_of("requested"), CORRECTIONS["request"])
    run = Replay(engine_of(policy), Machine(cluster), trace.jobs, foresight, data)
    for _ in run.run(EventOrder.TOGETHER):
        pass
    rows = zip(trace.jobs, run.start_s, run.stage_s, strict=True)
    completion_s = sum(start + stage + job.run_s - job.submit_s for job, start, stage in rows) / len(trace.jobs)
    return data_figures(trace.jobs, run.start_s, run.stage_s, data), data.stores.moved.wide_bytes, completion_s


def measure(given: argparse.Namespace) -> common.Figures:
    figures: common.Figures = {}
    for seed in SEEDS:
        model = Zipf(jobs=given.jobs, seed=seed, load=given.load)
        for policy in ("hal", "easy"):
            _, blind_bytes, blind_s = replayed(model, policy, is_blind=True)
            found, wide_bytes, completion_s = replayed(model, policy, is_blind=False)
            figures[f"{policy}_{seed}"] = {
                "wide_bytes_saved": round(1 - wide_bytes / blind_bytes, 3),
                "completion_saved": round(1 - completion_s / blind_s, 3),
                "hidden_fraction": round(found.hidden_fraction, 3),
                "hideable_fraction": round(found.hideable_fraction, 3),
                "blind_completion_s": round(blind_s),
                "wide_gb": round(wide_bytes / 1e9),
            }
    return figures


def main() -> int:
    parser = common.parser_of("three_sites")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--load", type=float, default=Zipf().load)
    common.run(__doc__, measure, parser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
