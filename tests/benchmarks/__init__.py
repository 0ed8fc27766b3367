"""Benchmarks: `python -m tests.benchmarks.NAME [--json]`. Figures go to standard output, progress to standard error.

Each measures the real thing from outside, as a user would meet it, and says what else the machine was doing.
"""
