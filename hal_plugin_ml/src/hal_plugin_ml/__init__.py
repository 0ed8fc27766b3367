"""Learned run-time prediction: quantiles from an online model, for planning. Numbers are imported when it is used."""

from __future__ import annotations

import attrs

from hal_core import Options, PluginInfo, Predictor, Register, hookimpl, structure_options

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="run times learned online from every job that ends",
    not_yet=(
        "predict memory, failures and start times",
        "keep what was learned in a file of its own: it learns from the journal's latest events at each start",
        "weigh several models against each other, and step aside where the limit is the better guess",
    ),
)


@attrs.frozen
class MlOptions:
    """There are none: one setting for all sites."""


@hookimpl
def hal_register_predictors(register: Register) -> None:
    def ml(options: Options) -> Predictor:
        structure_options(MlOptions, options, "predictor")
        from hal_plugin_ml.predictor import MlPredictor

        return MlPredictor()

    register("ml", ml, "quantiles by online regression over the user's past (p10, p50, p90)")
