"""Thirty bugs planted in the engine and its rules, one at a time: do the properties and the naive schedulers see them?

python -m tests.campaigns.planted_bugs [NUMBER...]

The checkout is copied, one line of the copy is changed, and the oracles run on it in a process of their own: naive
schedulers, the whole core against the quick replay, plans that go on against plans made anew, room against a model,
invariants of the state after random stories. A bug is caught if any of them fails. Exit code 0: at least 29 of 30.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
COPIED = ("hal_core", "plugins", "tests", "conftest.py", "pyproject.toml")
CAUGHT_MIN = 29
TIMEOUT_S = 400.0
ORACLES = (
    "tests/properties/test_passes.py",
    "tests/simulation/test_replay.py",
    "tests/properties/test_plans_go_on.py",
    "tests/properties/test_room.py",
    "tests/properties/test_core.py",
    "tests/simulation/test_decisions.py",
    "tests/simulation/test_simulation.py",
    "tests/unit/test_commit.py",
    "tests/conformance/test_default_plugins.py",
)
SKIPPED = "not real_daemon"
ENGINE = "plugins/hal_engine_backfill"
RULES = "hal_core/rules"


@attrs.frozen
class Bug:
    """One line that is wrong. `right` stands exactly once in the file."""

    path: str
    right: str
    wrong: str


BUGS = (
    Bug(f"{ENGINE}/easy.py", "ends_before = end_s <= promise.time_s", "ends_before = end_s <= promise.time_s + 60"),
    Bug(f"{ENGINE}/easy.py", "else promise.spare):", "else None):"),
    Bug(f"{ENGINE}/easy.py", "self._now_s + start.stage_s + job.expected_s)", "self._now_s)"),
    Bug(f"{ENGINE}/easy.py", "if changes is None or changes.ended or", "if changes is None or"),
    Bug(f"{ENGINE}/easy.py", "if job.shape.cpus <= most]", "if job.shape.cpus < most]"),
    Bug(f"{ENGINE}/easy.py", "(unfit if ends_before else unfit_beside).add(kind)", "unfit.add(kind)"),
    Bug(f"{ENGINE}/easy.py", "                spare.take(chosen, ask, count)\n", "                pass\n"),
    Bug(f"{ENGINE}/easy.py", "behind.sort(key=_expected_s)", "behind.sort(key=_expected_s, reverse=True)"),
    Bug(f"{ENGINE}/fcfs.py", "stopped.add(job.shape.partition)", "pass"),
    Bug(f"{ENGINE}/fcfs.py", "        left -= count\n", "        left -= 1\n"),
    Bug(f"{ENGINE}/conservative.py", "if hold.start_s > self._now_s:", "if hold.start_s > self._now_s + 5:"),
    Bug(f"{ENGINE}/conservative.py", "reserve.start_time_s >= now_s and", "reserve.start_time_s > now_s and"),
    Bug(f"{ENGINE}/conservative.py", "                    profile.take(start_s, run_s, ask, numbers)\n", ""),
    Bug(f"{ENGINE}/promises.py", ">= each.need:", "> each.need:"),
    Bug(f"{ENGINE}/promises.py", "each.start_s <= now_s]", "each.start_s < now_s]"),
    Bug(f"{RULES}/cpu_profile.py", "if expected_end_s > now_s:", "if expected_end_s > now_s + 30:"),
    Bug(f"{RULES}/cpu_profile.py", "and times[at - 1] + duration_s > held_s:", "and times[at - 1] > held_s:"),
    Bug(f"{RULES}/cpu_profile.py", "self._shift(max(end_s, held_s), held_end", "self._shift(held_s, held_end"),
    Bug(f"{RULES}/cpu_profile.py", "bisect_right(times, held_s - duration_s)", "bisect_right(times, held_s)"),
    Bug(f"{RULES}/profile.py", "times[ahead] < end_s and holds(common)", "times[ahead] < time_s and holds(common)"),
    Bug(f"{RULES}/profile.py", "found[0] < hold.start_s", "found[0] <= hold.start_s + 100"),
    Bug("hal_core/models/room.py", "nodes &= beside.fitting(ask)\n        chosen", "pass\n        chosen"),
    Bug("hal_core/models/room.py", "row + self._need(row, ask, -1)", "row + self._need(row, ask, -1) + 1"),
    Bug("hal_core/models/room.py", "row - self._need(row, ask, count)", "row - self._need(row, ask, 1)"),
    Bug("hal_core/models/room.py", "        self._owned.clear()\n        return twin", "        return twin"),
    Bug(f"{RULES}/commit.py", "if state.table.room_count(number, shape) < start.element_count:", "if False:"),
    Bug(f"{RULES}/commit.py", "len(numbers) != shape.node_count or", ""),
    Bug(f"{RULES}/commit.py", "<= record.startable_count:", "<= record.startable_count + 1:"),
    Bug(f"{RULES}/commit.py", "if record.spec.begin_time_s > now_s:", "if False:"),
    Bug("hal_core/sim/replay.py", "0.0) + pending.expected_s", "0.0) + job.run_s"),
)


def is_caught(bug: Bug) -> tuple[bool, str]:
    """Whether any oracle fails on a copy with the bug, and which one did."""
    with tempfile.TemporaryDirectory(prefix="hal-planted-") as name:
        copy = Path(name)
        for each in COPIED:
            source = ROOT / each
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / each)
        path = copy / bug.path
        text = path.read_text()
        assert text.count(bug.right) == 1, f"{bug.path}: {bug.right!r} stands {text.count(bug.right)} times"
        path.write_text(text.replace(bug.right, bug.wrong))
        return _fails(copy)


def _fails(copy: Path) -> tuple[bool, str]:
    oracles = [each for each in ORACLES if (copy / each).exists()]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", SKIPPED, *oracles]
    environment = {**os.environ, "PYTHONPATH": f"{copy}:{copy / 'plugins'}"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False, "no oracle failed in time"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode != 0, failed[0] if failed else ""


def main(words: list[str]) -> int:
    chosen = [int(word) for word in words] or range(len(BUGS))
    caught = 0
    for number in chosen:
        started_s = time.perf_counter()
        was_caught, by = is_caught(BUGS[number])
        caught += was_caught
        mark = "caught" if was_caught else "MISSED"
        took_s = time.perf_counter() - started_s
        what = f"{BUGS[number].path}: {BUGS[number].wrong.strip()[:60]!r}"
        print(f"{number:2} {mark} {took_s:5.0f} s  {what}  {by[:90]}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return 0 if caught >= min(CAUGHT_MIN, len(chosen)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
