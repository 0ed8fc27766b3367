"""A configuration file, and the plugins that it lets be loaded: what services begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from hal_core.config.cluster import executors_of
from hal_core.config.configuration import Configuration
from hal_core.config.reading import read_configuration
from hal_core.errors import HalError, InvalidInput, Problem
from hal_core.models.plugin import Installed, Pin
from hal_core.options import structure_options
from hal_core.plugins import Plugins

AGENT_SOCKET_NAME: Final = "agents.sock"
"""In the state directory: where agents of this machine connect."""
AUTHORITY_NAME: Final = "ca"
"""In the state directory: the certificate authority for agents on other machines."""


def read_with_plugins(path: str | Path) -> tuple[Configuration, Plugins]:
    """Raises InvalidInput, also for plugins that are pinned and are not what was pinned, or are chosen and not there.
    No plugin is loaded before it is known which may be."""
    loaded: list[Plugins] = []

    def load(pins: Mapping[str, Pin]) -> Installed:
        loaded.append(Plugins.load(pins=pins))
        return loaded[0].installed()

    return read_configuration(path, load), loaded[0]


def executor_options(
    configuration: Configuration, plugins: Plugins, epoch: int = 0
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, name of its plugin, its options) of each executor."""
    for name, plugin, options in executors_of(configuration.executors):
        yield name, plugin, {**_known(configuration, plugins, (name, plugin), epoch), **options}


def _known(configuration: Configuration, plugins: Plugins, executor: tuple[str, str], epoch: int) -> dict[str, Any]:
    """What the daemon knows itself and fills in where the class of the options has a field of that name. `executor`:
    its name and that of its plugin."""
    name, plugin = executor
    directory = Path(configuration.state_directory)
    known = {
        "socket": str(directory / AGENT_SOCKET_NAME),
        "authority": str(directory / AUTHORITY_NAME),
        "lease_s": configuration.cluster.node_timeout_s,
        "epoch": epoch,
        "name": name,
        "state_directory": str(directory / name),
    }
    cls = plugins.options_class("executor", plugin)
    fields = () if cls is None else attrs.fields_dict(cls)
    return {key: value for key, value in known.items() if key in fields}


def check_options(configuration: Configuration, plugins: Plugins) -> None:
    """Look at the options of everything that is chosen. Raises InvalidInput with all that is wrong, at its line.

    Engines, predictors and locality providers are made for it, which does nothing to the world. Executors, observers
    and clouds are not: what their plugins say of their options is held against them.
    """
    engine = configuration.engine
    looks: list[tuple[str, str, Callable[[], object]]] = [
        ("engine.options", engine.name, partial(plugins.engine, engine.name, engine.options))
    ]
    for section, make, named in (
        ("tuning.engines", plugins.engine, configuration.tuning.engines),
        ("localities", plugins.locality, configuration.localities),
        ("predictors", plugins.predictor, configuration.predictors),
    ):
        looks += [(f"{section}.{name}", name, partial(make, name, options)) for name, options in named.items()]
    for name, plugin, options in executors_of(configuration.executors):
        check = partial(_structure_executor, configuration, plugins, (name, plugin), options)
        looks.append((f"executors.{name}", name, check))
    for section, plane, chosen in (
        ("observers", "observer", configuration.observers),
        ("clouds", "cloud", configuration.clouds),
    ):
        looks += [
            (f"{section}.{name}", name, partial(_structure, plugins, plane, name, options))
            for name, options in chosen.items()
        ]
    problems: list[Problem] = []
    for section, name, look in looks:
        try:
            look()
        except InvalidInput as error:
            problems += [_within(section, name, each, configuration) for each in error.problems]
        except HalError as error:
            problems.append(Problem(section, str(error)))
    if problems:
        raise configuration.at_their_lines(InvalidInput(problems))


def _structure_executor(
    configuration: Configuration, plugins: Plugins, executor: tuple[str, str], options: Mapping[str, Any]
) -> None:
    filled = {**_known(configuration, plugins, executor, epoch=0), **options}
    _structure(plugins, "executor", executor[1], filled)


def _structure(plugins: Plugins, plane: str, name: str, options: Mapping[str, Any]) -> None:
    cls = plugins.options_class(plane, name)
    if cls is not None:
        structure_options(cls, options)


def _within(section: str, name: str, problem: Problem, configuration: Configuration) -> Problem:
    """At the option's place in the file. A plugin begins places as it likes, mostly with its name."""
    below = [problem.place, problem.place.removeprefix(f"{name}."), problem.place.rpartition(".")[2]]
    place = next((f"{section}.{each}" for each in below if f"{section}.{each}" in configuration.places), section)
    return Problem(place, problem.text if place != section else str(problem))
