"""Places at which a test lets the launcher die. Here they do nothing: see hal_core/failpoints.py."""

from __future__ import annotations


def reach(name: str) -> None:
    """The launcher has come so far."""
