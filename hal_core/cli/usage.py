"""The error of a wrong command line. In a module of its own, so that `submit` and `run` need not import argparse."""

from __future__ import annotations


class UsageError(Exception):
    """The command line is wrong. The text says what was given and what would work; exit code 2."""
