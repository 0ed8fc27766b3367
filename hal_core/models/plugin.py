"""Plugins: what one says of itself, and what the host found out about it. Pure data; loading is hal_core/plugins.py."""

from __future__ import annotations

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


class PluginStatus(Enum):
    LOADED = "loaded"
    DISABLED = "disabled"
    BROKEN = "broken"


@attrs.frozen
class Provided:
    """One thing that a plugin registered: selected in the YAML by `plane` and `name`."""

    plane: str
    name: str
    summary: str


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
