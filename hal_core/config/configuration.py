"""What the daemon is built from: the configuration as it was read, with every default filled in."""
# ruff: noqa: RUF009 - the sections are frozen

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from hal_core.config.data import DataSection
from hal_core.config.idle import IdleSection
from hal_core.config.listening import ListenSection
from hal_core.config.pinning import PinSection
from hal_core.config.schema import EngineSection, LimitsSection
from hal_core.config.tuning import TuningSection
from hal_core.errors import InvalidInput, Problem
from hal_core.models.node import Cluster
from hal_core.models.role import Role


@attrs.frozen
class Configuration:
    """Plugin options are plain values; the plugin checks them."""

    cluster: Cluster
    plugins: Mapping[str, PinSection] = attrs.field(factory=dict)
    engine: EngineSection = EngineSection()
    tuning: TuningSection = TuningSection()
    executors: Mapping[str, Mapping[str, Any]] = attrs.field(factory=lambda: {"metal": {}})
    localities: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    observers: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    predictors: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    clouds: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    users: Mapping[str, Role] = attrs.field(factory=dict)
    default_role: Role = Role.USER
    listen: ListenSection = ListenSection()
    state_directory: str = "/var/lib/hal"
    limits: LimitsSection = LimitsSection()
    idle: IdleSection = IdleSection()
    data: DataSection = DataSection()
    hooks: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    """Partition -> prolog and epilog, either may be empty. Partitions with neither are left out."""
    hook_timeout: float = 300.0
    places: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    """Path (`executors.metal.port`) -> `file:line:column`."""

    def role_of(self, user: str, uid: int, daemon_uid: int) -> Role:
        """Root and the daemon's own user are administrators, whatever is written."""
        return Role.ADMINISTRATOR if uid in (0, daemon_uid) else self.users.get(user, self.default_role)

    def at_their_lines(self, error: InvalidInput) -> InvalidInput:
        """The same problems, with the line of the file where their place is a path such as `engine.options.depth`."""
        return InvalidInput(
            Problem(f"{self.places[each.place]}: {each.place}" if each.place in self.places else each.place, each.text)
            for each in error.problems
        )
