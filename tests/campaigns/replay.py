"""Every trace, whole: published waits job by job, and the reference figures of an independent simulator.

HAL_TRACES=/path/to/traces python -m tests.campaigns.replay [TRACE...]
"""

from __future__ import annotations

import gc
import sys
import time

from tests.support.replays import (
    PUBLISHED,
    PUBLISHED_TRACES,
    REFERENCE,
    published_waits,
    read_trace,
    replay_trace,
    setting_of,
)

DIFFERENCE_MAX = 0.001
ROUNDED = (0.005, 0.5)
"""Half of the last digit of a reference's slow-down, and of its mean wait."""


def main(names: list[str]) -> int:
    """Exit code 0 if everything is as it should be."""
    gc.disable()
    is_good = True
    for name in names or list(REFERENCE):
        trace = read_trace(name)
        print(f"{name}: {len(trace.jobs)} jobs on {trace.processors} processors, {trace.skipped_count} left out")
        for policy, expected in REFERENCE[name].items():
            started_s = time.process_time()
            _, figures = replay_trace(trace, setting_of(policy))
            speed = len(trace.jobs) / (time.process_time() - started_s)
            found = (figures.avg_bounded_slowdown, figures.mean_wait_s)
            worst = max(_difference(*row) for row in zip(found, expected, ROUNDED, strict=True))
            is_good = is_good and worst <= DIFFERENCE_MAX
            mark = "" if worst <= DIFFERENCE_MAX else "  WRONG"
            print(f"  {policy:14} {found[0]:10.2f} {found[1]:12.0f} s  off {worst:8.4%}  {speed:8.0f} jobs/s{mark}")
        for column, setting in PUBLISHED.items() if name in PUBLISHED_TRACES else ():
            started_s = time.process_time()
            start_s, _ = replay_trace(trace, setting)
            speed = len(trace.jobs) / (time.process_time() - started_s)
            waits = published_waits(name, column)
            pairs = zip(trace.jobs, start_s, strict=True)
            equal = sum(start - job.submit_s == waits[job.number] for job, start in pairs) / len(trace.jobs)
            is_good = is_good and equal == 1.0
            print(
                f"  {column:16} {equal:9.4%} of the waits equal  {speed:8.0f} jobs/s{'' if equal == 1.0 else '  WRONG'}"
            )
    return 0 if is_good else 1


def _difference(found: float, expected: float, rounded: float) -> float:
    """Relative; what the reference rounded away does not count."""
    off = max(0.0, abs(found - expected) - rounded)
    return off / expected if expected else off


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
