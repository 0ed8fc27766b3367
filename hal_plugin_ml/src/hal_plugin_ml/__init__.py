"""Learned run-time prediction: quantiles from an online model, for planning. Numbers are imported when it is used."""

from __future__ import annotations

from pathlib import Path

import attrs

from hal_core import InvalidInput, Options, PluginInfo, Predictor, Problem, Register, hookimpl, structure_options

__version__ = "0.1.0"

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="run times, and how jobs end, learned online from every job that ends",
    not_yet=(
        "keep what it learned of the daemon's own jobs: it learns from the journal's latest events at each start",
    ),
)


@attrs.frozen
class MlOptions:
    """How it learns is the same for all sites."""

    warm_start: str = ""
    """A file that `hal train` wrote: go on from there instead of from nothing."""


@hookimpl
def hal_register_predictors(register: Register) -> None:
    def ml(options: Options) -> Predictor:
        checked = structure_options(MlOptions, options, "predictor")
        from hal_plugin_ml.predictor import MlPredictor

        predictor = MlPredictor()
        if checked.warm_start:
            predictor.load(_content(checked.warm_start))
        return predictor

    register("ml", ml, "quantiles by online regression over the user's past (p10, p50, p90)")


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput([Problem("warm_start", f"{path} cannot be read: {error.strerror}")]) from None
