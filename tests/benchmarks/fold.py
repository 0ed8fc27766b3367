"""`python -m tests.benchmarks.fold STATE_DIR`: open a journal and fold it as the daemon does, and print what it took.

Run by the recovery benchmark in a process of its own, so that nothing is warm.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from hal_core.kernel.journal import Journal
from hal_core.rules.state import State
from tests.benchmarks.common import Figures


def fold(directory: Path) -> Figures:
    begin_s = time.perf_counter()
    journal = Journal.open(directory)
    opened_s = time.perf_counter()
    recovery = journal.recover()
    state = State() if recovery.snapshot is None else State.load(recovery.snapshot)
    loaded_s = time.perf_counter()
    for event in recovery.events:
        state.apply(event)
    end_s = time.perf_counter()
    journal.close()
    assert state.sequence == recovery.last_sequence, f"{state.sequence} events of {recovery.last_sequence}"
    return {
        "fold_s": round(end_s - begin_s, 3),
        "fold_open_s": round(opened_s - begin_s, 3),
        "fold_load_s": round(loaded_s - opened_s, 3),
        "fold_apply_s": round(end_s - loaded_s, 3),
        "fold_applied_count": recovery.last_sequence - recovery.snapshot_sequence,
        "fold_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }


if __name__ == "__main__":
    print(json.dumps(fold(Path(sys.argv[1]))))
