"""For pytest only: it names a test module by its path, so that hal_plugin_slurm/tests/... would turn the name
`hal_plugin_slurm` into a folder without code. Importing the installed packages first keeps the names theirs.

Tests that start daemons, other programs and machines run in two lanes (Makefile), one after the other in each: what
starts a Slurm beside the hosts and users of HAL's own tests.

And no property has a deadline in time, nor is judged by how long its examples take to draw: a busy machine is slow.
"""

import pytest
from hypothesis import HealthCheck, settings

import hal_plugin_aws
import hal_plugin_ml
import hal_plugin_slurm

__all__ = ["hal_plugin_aws", "hal_plugin_ml", "hal_plugin_slurm"]

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

SLURM_LANE = ("hal_plugin_slurm/", "hal_plugin_aws/", "tests/end_to_end/test_slurm_support.py")
SESSIONS = tuple(f"tests/end_to_end/test_{name}.py" for name in ("sessions", "async_sessions", "recoverable_sessions"))
"""They need neither root nor hosts of their own, and make the lanes about as long as each other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_slurm = item.nodeid.startswith(SLURM_LANE + SESSIONS)
        item.add_marker(pytest.mark.xdist_group("slurm" if is_slurm else "hal"))
