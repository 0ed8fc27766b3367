"""Long searches for trouble: `.venv/bin/python -m tests.campaigns.NAME [--json]`.

Each has a short version for every day, as a test.
"""
