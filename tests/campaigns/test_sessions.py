"""A short run of the campaign on sessions."""

from __future__ import annotations

import random

from tests.campaigns.sessions import kill


def test_a_few_kills_of_each_process_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "set by the campaign, put back by the test")
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    figures = kill(2, seed, tmp_path)
    assert all(count >= 2 for count in figures["kills"].values())
