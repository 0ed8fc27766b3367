"""How long HAL needs to come back with a long journal: one million events, the last snapshot as old as it can be.

First the fold alone, in a fresh process: open and verify the journal, load the snapshot, apply the events after it.
Then the whole: from the start of `hal dev --state` until it answers and its node is up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.common import Figures, parser_of, progress, run, timed
from tests.benchmarks.simulated_history import SimulatedHistory
from tests.support.hal import HalCluster

REPEAT_COUNT = 3


def measure(given: argparse.Namespace) -> Figures:
    with tempfile.TemporaryDirectory(prefix="hal-recovery-") as name:
        base = Path(name)
        state = base / "state"
        state.mkdir(mode=0o700)
        history = SimulatedHistory(state)
        write_s = timed(lambda: history.write(given.events, given.waiting, progress))
        figures: Figures = {
            "event_count": history.sequence,
            "waiting_count": given.waiting,
            "write_s": round(write_s, 1),
            "state_directory_mb": round(sum(file.stat().st_size for file in state.iterdir()) / 1e6, 1),
        }
        progress("folding")
        figures |= fold_in_a_fresh_process(state)
        starts = []
        for _ in range(REPEAT_COUNT):
            progress("starting `hal dev` with this journal")
            with HalCluster(base=base) as hal:
                assert hal.counts().get("PENDING") == given.waiting, hal.counts()
                figures["daemon_rss_mb"] = round(hal.daemon().rss_bytes / 1e6, 1)
                starts.append(round(hal.startup_s, 2))
        return figures | {"recovery_s": statistics.median(starts), "recovery_each_s": starts}


def fold_in_a_fresh_process(state: Path) -> Figures:
    """The median run's figures."""
    command = [sys.executable, "-m", "tests.benchmarks.fold", str(state)]
    runs = []
    for _ in range(REPEAT_COUNT):
        figures: Figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        runs.append(figures)
    return sorted(runs, key=lambda figures: float(figures["fold_s"]))[REPEAT_COUNT // 2]


if __name__ == "__main__":
    parser = parser_of("recovery")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the journal (default: 1000000)")
    parser.add_argument("--waiting", type=int, default=10_000, help="held jobs at its end (default: 10000)")
    run(__doc__, measure, parser)
