"""The Slurm bridge. It only announces itself: it registers nothing, for it can do nothing yet."""

from hal_core import PluginInfo

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="bridge to Slurm clusters (nothing registered yet)",
    not_yet=(
        "run HAL jobs through slurmrestd or sbatch",
        "show Slurm's nodes and jobs in HAL",
        "sbatch, squeue and scancel commands that talk to HAL",
    ),
)
