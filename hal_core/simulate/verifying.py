"""`hal replay JOURNAL --verify`: does the engine of today decide what it decided then?"""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from typing import Any

from hal_core.config.reading import read_configuration
from hal_core.errors import InvalidInput, Problem
from hal_core.kernel.collector import without_collector
from hal_core.planes import Engine
from hal_core.plugins import Plugins
from hal_core.sim.decisions import Verdict, repeat_decisions
from hal_core.simulate.sources import journal_directory, journal_events


def verify(arguments: Namespace) -> dict[str, Verdict]:
    """By trace, each of which must be a journal. `--cluster` names the configuration with the engine's options."""
    plugins = Plugins.load()
    options: dict[str, Any] = {}
    if arguments.cluster is not None:
        section = read_configuration(arguments.cluster, lambda _: plugins.installed()).engine
        options[section.name] = section.options

    def engine_of(name: str) -> Engine:
        return plugins.engine(name, options.get(name))

    verdicts = {}
    for name in arguments.traces:
        directory = journal_directory(name)
        if directory is None:
            raise InvalidInput([Problem("--verify", f"{name} is no journal of HAL; give the daemon's state directory")])
        with without_collector():
            verdicts[name] = repeat_decisions(partial(journal_events, directory), engine_of)
    return verdicts
