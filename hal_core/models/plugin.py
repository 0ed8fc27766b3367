"""Plugins: what one says of itself, and what the host found out about it. Pure data; loading is hal_core/plugins.py."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final

import attrs

SDK_VERSION: Final = 1
"""Grows when a name of the SDK changes its meaning or goes. A plugin written for another version is refused."""


@attrs.frozen
class PluginInfo:
    """What a plugin module says of itself, as `__hal_plugin__`. `sdk` is the SDK_VERSION that it was written for.

    `not_yet` is for honesty: what a user may expect of this plugin that it does not do yet, one line each.
    """

    sdk: int
    summary: str
    not_yet: tuple[str, ...] = ()


@attrs.frozen
class Pin:
    """What a plugin must be to be loaded, as far as it is said: its version, and the digest of its files."""

    version: str = ""
    sha256: str = ""


@attrs.frozen
class Installed:
    """What a configuration can choose from."""

    names: Mapping[str, Collection[str]]
    """Plane (`engine`, `executor` ...) -> names that plugins registered."""
    why_not: Mapping[str, str] = attrs.field(factory=dict)
    """Plugin -> why it is not loaded; empty if it is."""


Load = Callable[[Mapping[str, Pin]], Installed]
"""Loads the plugins that may be: those that are pinned, or all if none is."""


class PluginStatus(Enum):
    LOADED = "loaded"
    DISABLED = "disabled"
    BROKEN = "broken"


@attrs.frozen
class Conduct:
    """What a plugin that is in use cost since the daemon started, and what it did wrong. Times of planes that wait for
    others, such as executors, are not counted: only failures are."""

    call_count: int = 0
    busy_s: float = 0.0
    failure_count: int = 0
    last_problem: str = ""
    last_problem_time_s: float | None = None


@attrs.frozen
class Provided:
    """One thing that a plugin registered: selected in the YAML by `plane` and `name`."""

    plane: str
    name: str
    summary: str
    conduct: Conduct | None = None
    """None: it was not called yet."""


@attrs.frozen
class PluginListing:
    """One line of `hal plugins`. `reason` says why a plugin is not loaded, or which of its names are refused."""

    name: str
    module: str
    distribution: str
    version: str
    status: PluginStatus
    summary: str = ""
    not_yet: tuple[str, ...] = ()
    provides: tuple[Provided, ...] = ()
    reason: str = ""
