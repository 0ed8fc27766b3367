"""Default scheduling engines: `fifo` and `easy` (backfill with one promise for the first blocked job).

Both are pure functions of the snapshot; see each module for its guarantee.
"""

from __future__ import annotations

import attrs

from hal_core import Options, PluginInfo, Register, hookimpl, structure_options

__hal_plugin__ = PluginInfo(sdk=1, summary="first in first out, and EASY backfill")


@attrs.frozen
class EngineOptions:
    """Options of both engines in the YAML."""

    depth_max: int = attrs.field(default=1000, validator=attrs.validators.ge(1))
    """Different requests looked at in one pass; equal ones are decided together and count once."""
    scan_max: int = attrs.field(default=20_000, validator=attrs.validators.ge(1))
    """Pending jobs looked at in one pass."""


@hookimpl
def hal_register_engines(register: Register) -> None:
    from hal_engine_backfill.easy import Easy
    from hal_engine_backfill.fifo import Fifo

    def fifo(options: Options) -> Fifo:
        structure_options(EngineOptions, options, "engine")
        return Fifo()

    def easy(options: Options) -> Easy:
        checked = structure_options(EngineOptions, options, "engine")
        return Easy(depth_max=checked.depth_max, scan_max=checked.scan_max)

    register("fifo", fifo, "start jobs in order; stop at the first that does not fit")
    register("easy", easy, "EASY backfill: later jobs may start if the first blocked one is not delayed")
