"""A configuration file, and the plugins that it lets be loaded: what services begin with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hal_core.config.reading import read_configuration
from hal_core.config.schema import Configuration
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
