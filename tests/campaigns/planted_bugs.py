"""Bugs planted in the engine and its rules, one at a time: do the properties and the naive schedulers see them?

python -m tests.campaigns.planted_bugs [NUMBER...]

The checkout is copied, one line of the copy is changed, and the oracles run on it in a process of their own: naive
schedulers, the whole core against the quick replay, plans that go on against plans made anew, room against a model,
invariants of the state after random stories. A bug is caught if any of them fails. Thirty are in backfill and commit,
and every oracle of those is asked; the others are in what lies around them (topology, GPUs, reservations, preemption,
elastic jobs, limits, variants, orders), and only the tests of that are. Random tests begin from a fixed seed.
Exit code 0: of each thirty at most one was missed.
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
EACH = 30
"""Of so many one may be missed."""
TIMEOUT_S = 900.0
"""Longer than it takes until a test that hangs has been ended twice."""
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
NO_SHRINKING = """
from hypothesis import Phase, settings

settings.register_profile("planted", phases=(Phase.explicit, Phase.generate))
"""
"""Nobody reads the example: it need not be the smallest."""
ENGINE = "plugins/hal_engine_backfill"
RULES = "hal_core/rules"


@attrs.frozen
class Bug:
    """One line that is wrong. `right` stands exactly once in the file."""

    path: str
    right: str
    wrong: str
    oracles: tuple[str, ...] = ORACLES


GOING_ON = ("tests/properties/test_plans_go_on.py",)
BACKFILL_BUGS = (
    Bug(f"{ENGINE}/easy.py", "ends_before = end_s <= promise.time_s", "ends_before = end_s <= promise.time_s + 60"),
    Bug(f"{ENGINE}/easy.py", "else promise.spare):", "else None):"),
    Bug(f"{ENGINE}/ends.py", "now_s + start.stage_s + job.expected_s)", "now_s)"),
    Bug(f"{ENGINE}/groups.py", "for job in changes.ended}", "for job in changes.ended[1:]}"),
    Bug(f"{ENGINE}/easy.py", "if job.shape.cpus <= most)", "if job.shape.cpus < most)"),
    Bug(f"{ENGINE}/easy.py", "(unfit if ends_before else unfit_beside).add(kind,", "unfit.add(kind,"),
    Bug(f"{ENGINE}/easy.py", "                spare.take(chosen, ask, count)\n", "                pass\n"),
    Bug(f"{ENGINE}/shadow.py", "job.expected_end_s >= time_s]", "job.expected_end_s > time_s]", GOING_ON),
    Bug(f"{ENGINE}/shadow.py", "            self._later.take(numbers, ask, count)\n", "", GOING_ON),
    Bug(f"{ENGINE}/shadow.py", "self._before |= later", "later", GOING_ON),
    Bug(f"{ENGINE}/easy.py", "sorted(behind, key=_expected_s)", "sorted(behind, key=_expected_s, reverse=True)"),
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
    Bug(
        "hal_core/models/room.py",
        "nodes = beside._fitting_among(nodes & ask.nodes, ask)\n        chosen",
        "pass\n        chosen",
    ),
    Bug("hal_core/models/room.py", "row += self._need(row, ask, -1)", "row += self._need(row, ask, -1) + 1"),
    Bug("hal_core/models/room.py", "self._need(group[0], ask, count)", "self._need(group[0], ask, 1)"),
    Bug("hal_core/models/node_rows.py", "        self._owned.clear()\n        return twin", "        return twin"),
    Bug(
        f"{RULES}/commit.py",
        "if state.table.room_count(number, part, lent.get(number, 0)) < start.element_count:",
        "if False:",
    ),
    Bug(f"{RULES}/commit.py", "len(numbers) != shape.total_nodes or", ""),
    Bug(f"{RULES}/commit.py", "<= record.startable_count:", "<= record.startable_count + 1:"),
    Bug(f"{RULES}/commit.py", "if record.spec.begin_time_s > now_s:", "if False:"),
    Bug("hal_core/sim/replay.py", "0.0) + pending.expected_s", "0.0) + job.run_s"),
)

MODELS = "hal_core/models"
TOPOLOGY = (
    *("tests/properties/test_topology.py", "tests/unit/test_nearness.py", "tests/unit/test_topology_jobs.py"),
    "tests/unit/test_patience.py",
)
GPUS = ("tests/properties/test_gpu_shares.py", "tests/properties/test_room.py")
RESERVED = ("tests/simulation/test_reservations.py", "tests/unit/test_reservations.py")
PREEMPTED = ("tests/simulation/test_preemption.py",)
SUSPENDED = ("tests/simulation/test_suspension.py",)
ELASTIC = ("tests/simulation/test_elastic.py",)
LIMITED = ("tests/properties/test_limits.py", "tests/properties/test_licences.py")
ORDERED = ("tests/unit/test_expansion.py", "tests/properties/test_sharing.py", "tests/simulation/test_replay.py")
VARIED = (
    *("tests/properties/test_variants.py", "tests/unit/test_variants.py"),
    *("tests/unit/test_array_ends.py", "tests/unit/test_bookings.py"),
)
MIXED = ("tests/properties/test_mixed_jobs.py",)

OTHER_BUGS = (
    Bug(f"{MODELS}/mixed.py", "if found.bit_count() < wanted:", "if nodes.bit_count() < part.node_count:", MIXED),
    Bug(f"{MODELS}/mixed.py", "        left = _without(left, mask_of(chosen))\n", "", MIXED),
    Bug(f"{MODELS}/mixed.py", "each.fitting(part) for each in rooms]", "room.fitting(part)]", MIXED),
    Bug(f"{MODELS}/wait.py", "if bits & part.nodes & ~fitting[at] and", "if not at and", MIXED),
    Bug(f"{RULES}/profile.py", "= mixed.fitting(room, ask,", "= mixed.fitting(self._rooms[0], ask,", MIXED),
    Bug(f"{MODELS}/placing.py", "    parts.sort(key=_count, reverse=True)\n", "    parts.sort(key=_count)\n", TOPOLOGY),
    Bug(f"{MODELS}/placing.py", "holding.sort(key=_count)", "holding.sort(key=_count, reverse=True)", TOPOLOGY),
    Bug(f"{MODELS}/placing.py", "if depth < wish.depth:", "if depth + 1 < wish.depth:", TOPOLOGY),
    Bug(f"{RULES}/patience.py", "    return wait_s + run_s *", "    return run_s *", TOPOLOGY),
    Bug(f"{RULES}/commit.py", "if not state.packing.ask(shape).is_allowed(mask_of(numbers)):", "if False:", TOPOLOGY),
    Bug(f"{MODELS}/gpu_parts.py", "found = max(held, key=_free)", "found = min(held, key=_free)", GPUS),
    Bug(f"{MODELS}/gpu_parts.py", "if part[1] >= milli and", "if part[1] > milli and", GPUS),
    Bug(f"{MODELS}/gpu_parts.py", "free >= milli and kind", "free + 1 >= milli and kind", GPUS),
    Bug(f"{MODELS}/room.py", "harm(row, row - self._need", "harm(row - self._need", GPUS),
    Bug(
        f"{MODELS}/reservation.py",
        "is not None and window[0] < end_s:",
        "is not None and window[0] < start_s:",
        RESERVED,
    ),
    Bug(f"{MODELS}/reservation.py", " and end_s <= window[1]", "", RESERVED),
    Bug(f"{RULES}/timeline.py", "else ask.holds(fitting & allowed):", "else ask.holds(fitting):", RESERVED),
    Bug(f"{RULES}/profile.py", "common &= permit.nodes(time_s)", "pass", RESERVED),
    Bug(f"{RULES}/victims.py", "    near.sort(key=_lost)\n", "    near.sort(key=_lost, reverse=True)\n", PREEMPTED),
    Bug(f"{RULES}/victims.py", "quick = _pruned(room, ask, _node", "quick = list(_node", PREEMPTED),
    Bug(f"{ENGINE}/preempting.py", "taken.update(keys)", "pass", PREEMPTED),
    Bug(f"{ENGINE}/preempting.py", "if group in blocked or", "if", PREEMPTED),
    Bug(f"{RULES}/suspension.py", "not piles.is_covered(activity)", "True", SUSPENDED),
    Bug(f"{RULES}/piles.py", "self.below[activity] = cpus & seen", "self.below[activity] = 0", SUSPENDED),
    Bug(f"{RULES}/suspension.py", "return lent & ~used", "return lent", SUSPENDED),
    Bug(f"{RULES}/elastic.py", "self._closed |= mask_of(claim.node_numbers)", "pass", ELASTIC),
    Bug(f"{RULES}/elastic.py", "self._serve(job.job_id, -1)", "pass", ELASTIC),
    Bug(f"{RULES}/elastic.py", "return its_rank < rank or", "return its_rank > rank or", ELASTIC),
    Bug(f"{RULES}/limits.py", "fits = current + amount <= most", "fits = current <= most", LIMITED),
    Bug(
        f"{RULES}/commit.py",
        "refusal(state, start, now_s) or _limit(state, quota, start)",
        "refusal(state, start, now_s)",
        LIMITED,
    ),
    Bug(f"{ENGINE}/easy.py", "job.element_count - left)\n        self._ends", "0)\n        self._ends", LIMITED),
    Bug(f"{ENGINE}/expansion.py", "((-job.rank, -factor), job)", "((job.rank, -factor), job)", ORDERED),
    Bug(f"{ENGINE}/expansion.py", "does_trust=not starved)", "does_trust=True)", ORDERED),
    Bug(f"{RULES}/fair_share.py", "share = above.share * shares /", "share = shares /", ORDERED),
    Bug(f"{RULES}/variants.py", " or before.is_worse_in(after, {*changed, *elastic_jobs.weights})", "", VARIED),
    Bug(f"{RULES}/variants.py", "room.give(start.node_numbers, own)\n", "pass\n", VARIED),
    Bug(f"{RULES}/variants.py", " if left is None else left.last_end_s(run_s, start_s)", "", VARIED),
    Bug(f"{RULES}/commit.py", " and not record.is_bound", "", VARIED),
    Bug(f"{RULES}/array_ends.py", " + late - 1, slot_count)", " + late, slot_count)", VARIED),
    Bug(
        f"{RULES}/variants.py",
        "start_s < math.inf and prospect < best",
        "start_s < math.inf and prospect > best",
        VARIED,
    ),
    Bug(f"{RULES}/job_record.py", "first_s * spec.run_ratio, walltime_s", "first_s, walltime_s", VARIED),
)
BUGS = BACKFILL_BUGS + OTHER_BUGS


def is_caught(bug: Bug) -> tuple[bool, str]:
    """Whether any of its oracle fails on a copy with the bug, and which one did."""
    with tempfile.TemporaryDirectory(prefix="hal-planted-") as name:
        copy = Path(name)
        for each in COPIED:
            source = ROOT / each
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / each)
        path = copy / bug.path
        text = path.read_text()
        assert text.count(bug.right) == 1, f"{bug.path}: {bug.right!r} stands {text.count(bug.right)} times"
        path.write_text(text.replace(bug.right, bug.wrong))
        with (copy / "conftest.py").open("a") as stream:
            stream.write(NO_SHRINKING)
        return _fails(copy, bug.oracles)


def _fails(copy: Path, oracles: tuple[str, ...]) -> tuple[bool, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", SKIPPED]
    command += ["--hypothesis-seed=1", "--hypothesis-profile=planted", *oracles]
    environment = {**os.environ, "PYTHONPATH": f"{copy}:{copy / 'plugins'}"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False, "no oracle failed in time"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert done.returncode in (0, 1, 2), f"the oracles did not run: {done.stdout[-500:]}{done.stderr[-500:]}"
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
    return 0 if len(chosen) - caught <= len(chosen) // EACH else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
