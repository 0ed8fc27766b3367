"""Random schedules of a pool, in which accounts have budgets, with crashes of HAL at any point.

`python -m tests.campaigns.pools [--count N] [--seed N]`
A seed that fails is printed, and `--seed N --count 1` repeats it. The suite runs the first few (tests/properties).
"""

from __future__ import annotations

import argparse
import sys

from tests.support.pool_schedules import run_schedule


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    crashes = instances = failures = accounts = lacks = 0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        try:
            outcome = run_schedule(seed)
        except AssertionError as error:
            failures += 1
            sys.stdout.write(f"{error}\n")
            continue
        crashes += outcome.crash_count
        instances += outcome.instance_count
        accounts += outcome.account_count
        lacks += outcome.account_lack_count > 0
    counts = f"{arguments.count} schedules, {crashes} crashes, {instances} instances, {failures} failed"
    sys.stdout.write(f"{counts}; {accounts} accounts paid, and in {lacks} schedules one had too little left\n")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
