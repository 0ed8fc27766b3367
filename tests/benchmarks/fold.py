"""`python -m tests.benchmarks.fold STATE_DIR`: open a journal and fold it as the daemon does, and print what it took.

Run by the recovery benchmark in a process of its own, so that nothing is warm.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from hal_core.daemon import recover_state
from hal_core.kernel.journal import Journal
from tests.benchmarks.common import Figures


def fold(directory: Path) -> Figures:
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    journal = Journal.open(directory)
    snapshot_sequence = journal.recover().snapshot_sequence
    opened_s = time.perf_counter()
    state = recover_state(journal)
    end_s = time.perf_counter()
    journal.close()
    return {
        "fold_s": round(end_s - opened_s, 3),
        "fold_cpu_s": round(time.process_time() - begin_cpu_s, 3),
        "fold_open_s": round(opened_s - begin_s, 3),
        "fold_applied_count": state.sequence - snapshot_sequence,
        "fold_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }


if __name__ == "__main__":
    print(json.dumps(fold(Path(sys.argv[1]))))
