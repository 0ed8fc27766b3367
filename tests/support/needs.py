"""What a test needs from the machine beyond Python. Without it the test says so in one line; in CI it fails."""

from __future__ import annotations

import os

import pytest


def need(missing: str) -> None:
    """Go on if `missing` is empty; else it is the one line that is shown. CI has everything, so there it fails."""
    if not missing:
        return
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)
