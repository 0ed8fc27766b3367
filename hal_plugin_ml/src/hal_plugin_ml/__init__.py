"""Learned run-time prediction. It only announces itself: it registers nothing, for it can do nothing yet."""

from hal_core import PluginInfo

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="run-time prediction by online learning (nothing registered yet)",
    not_yet=(
        "predict run times and memory of jobs",
        "learn from the journal",
        "show how good its predictions were",
    ),
)
