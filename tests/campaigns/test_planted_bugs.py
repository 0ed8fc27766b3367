"""The campaign over planted engine bugs: each can still be planted. Whether it is caught, says the campaign itself."""

from __future__ import annotations

import pytest

from tests.campaigns.planted_bugs import BUGS, ROOT, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.path}: {bug.right.strip()}")
def test_a_bug_can_still_be_planted(bug: Bug) -> None:
    """If this fails, the code was changed where a bug is planted: give it another piece in planted_bugs.py."""
    text = (ROOT / bug.path).read_text()
    assert text.count(bug.right) == 1
    compile(text.replace(bug.right, bug.wrong), bug.path, "exec")


def test_there_are_thirty() -> None:
    assert len(BUGS) >= 30
