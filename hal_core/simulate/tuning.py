"""`--policy tuned`: a replay in which HAL chooses among engines by itself, as the daemon does with `tuning:`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from hal_core.config.configuration import Configuration
from hal_core.config.schema import EngineSection
from hal_core.config.tuning import TuningSection
from hal_core.plugins import Plugins
from hal_core.sim.trace import TraceJob
from hal_core.sim.tuned import Policies, Tuned

TUNED: Final = "tuned"
UNLESS_CONFIGURED: Final = TuningSection(engines={"easy-sjbf": {}, "conservative": {}, "hal": {}})
"""What is tried beside EASY, if there is no configuration that says otherwise."""


@attrs.frozen
class TuningFigures:
    """Of one run: how often the policies were tried, and how often another one came into force."""

    trials: int
    changes: int


def tuned_engine(configuration: Configuration | None, plugins: Plugins, jobs: Sequence[TraceJob]) -> Tuned:
    """Raises errors.UserError for an engine that is not there, or options that are wrong."""
    engine = EngineSection() if configuration is None else configuration.engine
    section = UNLESS_CONFIGURED if configuration is None else configuration.tuning
    if not section.engines:
        section = attrs.evolve(section, engines=UNLESS_CONFIGURED.engines)
    engines = {name: plugins.engine(name, options) for name, options in section.engines.items()}
    engines[engine.name] = plugins.engine(engine.name, engine.options)
    policies = Policies(engines, engine.name, engine.name)
    return Tuned(policies, lambda job_id: jobs[int(job_id)].user, section.every, section.bounds())
