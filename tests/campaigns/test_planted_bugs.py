"""The campaign over planted engine bugs: each can still be planted, and three are caught. The others are its own."""

from __future__ import annotations

import attrs
import pytest

from tests.campaigns.planted_bugs import BUGS, ROOT, Bug, is_caught


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.path}: {bug.right.strip()}")
def test_a_bug_can_still_be_planted(bug: Bug) -> None:
    """If this fails, the code was changed where a bug is planted: give it another piece in planted_bugs.py."""
    text = (ROOT / bug.path).read_text()
    assert text.count(bug.right) == 1
    compile(text.replace(bug.right, bug.wrong), bug.path, "exec")


def test_there_are_sixty_and_no_two_the_same() -> None:
    assert len(set(BUGS)) == len(BUGS) >= 60
    assert all((ROOT / oracle).exists() for bug in BUGS for oracle in bug.oracles)


PASSES = "tests/properties/test_passes.py"


@pytest.mark.parametrize(
    ("right", "oracle"),
    [
        (BUGS[0].right, f"{PASSES}::test_backfill_makes_no_promise_later_and_leaves_nothing_idle_that_it_could_use"),
        ("stopped.add(job.shape.partition)", f"{PASSES}::test_fcfs_lets_nobody_pass"),
        ("if state.table.room_count(number", "tests/unit/test_commit.py::test_only_what_may_start_is_started"),
    ],
)
def test_a_planted_bug_is_caught(right: str, oracle: str) -> None:
    (bug,) = (bug for bug in BUGS if bug.right.startswith(right))
    was_caught, by = is_caught(attrs.evolve(bug, oracles=(oracle,)))
    assert was_caught, f"nobody sees that {bug.right!r} is gone"
    assert oracle.partition("::")[2] in by
