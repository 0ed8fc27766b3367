"""Default scheduling engines: strict order, and backfill with promises for one, some or all blocked jobs.

All are pure functions of the snapshot; see each module for its guarantee and its source.
"""

from __future__ import annotations

from functools import partial

import attrs

from hal_core import Engine, Options, PluginInfo, Register, hookimpl, structure_options

__hal_plugin__ = PluginInfo(sdk=1, summary="first come first served, and backfill: EASY, shortest first, conservative")


@attrs.frozen
class EngineOptions:
    """Options of all engines in the YAML."""

    depth_max: int = attrs.field(default=1000, validator=attrs.validators.ge(1))
    """Different requests looked at in one pass; equal ones are decided together and count once."""
    scan_max: int = attrs.field(default=20_000, validator=attrs.validators.ge(1))
    """Pending jobs looked at in one pass."""


@hookimpl
def hal_register_engines(register: Register) -> None:
    from hal_engine_backfill.easy import Easy
    from hal_engine_backfill.fcfs import Fcfs

    def fcfs(options: Options) -> Engine:
        structure_options(EngineOptions, options, "engine")
        return Fcfs()

    def easy(options: Options, is_shortest_first: bool = False) -> Engine:
        checked = structure_options(EngineOptions, options, "engine")
        return Easy(checked.depth_max, checked.scan_max, is_shortest_first)

    register("fcfs", fcfs, "start jobs in order; a partition stops at its first job that does not fit")
    register("fifo", fcfs, "another name for fcfs")
    register("easy", easy, "EASY backfill: later jobs may start if the first blocked one is not delayed")
    register("easy-sjbf", partial(easy, is_shortest_first=True), "EASY backfill, shortest expected run time first")
