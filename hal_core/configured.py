"""A configuration file, and the plugins that it lets be loaded: what services begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from hal_core.config.configuration import Configuration
from hal_core.config.reading import read_configuration
from hal_core.errors import HalError, InvalidInput, Problem
from hal_core.models.plugin import Installed, Pin
from hal_core.plugins import Plugins


def read_with_plugins(path: str | Path) -> tuple[Configuration, Plugins]:
    """Raises InvalidInput, also for plugins that are pinned and are not what was pinned, or are chosen and not there.
    No plugin is loaded before it is known which may be."""
    loaded: list[Plugins] = []

    def load(pins: Mapping[str, Pin]) -> Installed:
        loaded.append(Plugins.load(pins=pins))
        return loaded[0].installed()

    return read_configuration(path, load), loaded[0]


def check_options(configuration: Configuration, plugins: Plugins) -> None:
    """Let the engines, predictors and locality providers that are chosen look at their options. Raises InvalidInput.

    To make one of these does nothing to the world; executors, observers and clouds are made by who needs them.
    """
    chosen: list[tuple[str, str, Callable[[], object]]] = []
    engine = configuration.engine
    chosen.append(("engine.options", engine.name, partial(plugins.engine, engine.name, engine.options)))
    for section, make, named in (
        ("tuning.engines", plugins.engine, configuration.tuning.engines),
        ("localities", plugins.locality, configuration.localities),
        ("predictors", plugins.predictor, configuration.predictors),
    ):
        chosen += [(f"{section}.{name}", name, partial(make, name, options)) for name, options in named.items()]
    problems: list[Problem] = []
    for section, name, made in chosen:
        try:
            made()
        except InvalidInput as error:
            problems += [_within(section, name, each, configuration) for each in error.problems]
        except HalError as error:
            problems.append(Problem(section, str(error)))
    if problems:
        raise configuration.at_their_lines(InvalidInput(problems))


def _within(section: str, name: str, problem: Problem, configuration: Configuration) -> Problem:
    """At the option's place in the file. A plugin begins places as it likes, mostly with its name."""
    below = [problem.place, problem.place.removeprefix(f"{name}."), problem.place.rpartition(".")[2]]
    place = next((f"{section}.{each}" for each in below if f"{section}.{each}" in configuration.places), section)
    return Problem(place, problem.text if place != section else str(problem))
