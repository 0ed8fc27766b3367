"""The short version of the power-cut campaign, and that it would see what it looks for."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.campaigns.power_cut import PowerCuts, environment
from tests.support.power_model import PowerModel
from tests.support.syscalls import need_strace, traced


@pytest.fixture(autouse=True)
def with_strace() -> None:
    need_strace()


def test_a_power_cut_loses_nothing_that_was_acknowledged() -> None:
    cuts = PowerCuts(random.randrange(1 << 32))
    cuts.run(300)
    assert not cuts.problems, f"seed {cuts.seed}"
    assert cuts.outcomes == {"kept": 300}, f"seed {cuts.seed}"


@pytest.mark.parametrize(
    ("variant", "outcome"), [("commits_not_synced", "refused"), ("nothing_synced", "lost"), ("answered_early", "lost")]
)
def test_a_sync_left_out_is_seen(variant: str, outcome: str) -> None:
    """Without the sync of commits the mark still tells, so that HAL refuses; without both, events are lost."""
    cuts = PowerCuts(1, variant)
    cuts.run(100)
    assert cuts.outcomes[outcome] > 10, cuts.outcomes


def test_the_model_sees_what_the_program_sees(tmp_path: Path) -> None:
    state = tmp_path / "state"
    argv = [sys.executable, "-m", "tests.campaigns.journal_writer", str(state), "1", "40"]
    model = PowerModel(str(state))
    for call in traced(argv, environment(), tmp_path / "log"):
        model.follow(call)
    assert model.now() == {str(path): path.read_bytes() for path in state.iterdir()}
