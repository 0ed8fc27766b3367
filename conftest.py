"""For pytest only: it names a test module by its path, so that hal_plugin_slurm/tests/... would turn the name
`hal_plugin_slurm` into a folder without code. Importing the installed packages first keeps the names theirs.

And no property has a deadline in time, nor is judged by how long its examples take to draw: a busy machine is slow.
"""

from hypothesis import HealthCheck, settings

import hal_plugin_aws
import hal_plugin_ml
import hal_plugin_slurm

__all__ = ["hal_plugin_aws", "hal_plugin_ml", "hal_plugin_slurm"]

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
