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


@attrs.frozen
class SlackOptions(EngineOptions):
    """Options of the engine `slack`."""

    slack: float = attrs.field(default=0.5, validator=[attrs.validators.ge(0.0), attrs.validators.le(10.0)])
    """A promised start may be later than the earliest by so much of the time until that."""


@attrs.frozen
class NoOptions:
    """The predictor has none."""


@attrs.frozen
class ExpansionOptions(EngineOptions):
    """Options of the engine `hal`."""

    floor_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0.0))
    """Shorter expected run times count as this one in the order."""
    starvation_s: float = attrs.field(default=5 * 86_400.0, validator=attrs.validators.gt(0.0))
    """Who has waited for so long comes before all others."""


RESERVE_COUNT = 4
"""Promises of the engine `reserve`, unless its options say otherwise."""


@attrs.frozen
class PromiseOptions:
    """Options of the engines that promise many jobs their starts."""

    promise_max: int = attrs.field(default=5000, validator=attrs.validators.ge(1))
    """So many jobs are promised a start; later ones start only where they fit at once."""
    scan_max: int = attrs.field(default=20_000, validator=attrs.validators.ge(1))
    """Pending jobs looked at in one pass."""
    budget_steps: int = attrs.field(default=2_000_000, validator=attrs.validators.ge(1))
    """Steps of work in one pass (a million take about a quarter of a second)."""


@hookimpl
def hal_register_predictors(register: Register) -> None:
    from hal_engine_backfill.last_two import LastTwo

    def last_two(options: Options) -> LastTwo:
        structure_options(NoOptions, options, "predictor")
        return LastTwo()

    register("last-two", last_two, "the mean of the last two jobs of the same user (EASY++)")


@hookimpl
def hal_register_engines(register: Register) -> None:
    from hal_engine_backfill.conservative import Conservative
    from hal_engine_backfill.easy import Easy
    from hal_engine_backfill.expansion import Expansion
    from hal_engine_backfill.fcfs import Fcfs
    from hal_engine_backfill.preempting import Preempting

    def fcfs(options: Options) -> Engine:
        structure_options(EngineOptions, options, "engine")
        return Preempting(Fcfs())

    def easy(options: Options, is_shortest_first: bool = False) -> Engine:
        checked = structure_options(EngineOptions, options, "engine")
        return Preempting(Easy(checked.depth_max, checked.scan_max, is_shortest_first), is_shortest_first)

    def slack(options: Options) -> Engine:
        checked = structure_options(SlackOptions, options, "engine")
        return Preempting(Easy(checked.depth_max, checked.scan_max, slack=checked.slack))

    def conservative(options: Options, promise_max: int | None = None) -> Engine:
        checked = structure_options(PromiseOptions, options, "engine")
        if promise_max is not None and "promise_max" not in options:
            checked = attrs.evolve(checked, promise_max=promise_max)
        return Preempting(Conservative(checked.promise_max, checked.scan_max, checked.budget_steps))

    def expansion(options: Options) -> Engine:
        checked = structure_options(ExpansionOptions, options, "engine")
        order = Expansion(checked.floor_s, checked.starvation_s, checked.depth_max, checked.scan_max)
        return Preempting(order, is_one_by_one=True)

    register("hal", expansion, "backfill by expansion factor: who waits longest for what it takes comes first")
    register("fcfs", fcfs, "start jobs in order; a partition stops at its first job that does not fit")
    register("fifo", fcfs, "another name for fcfs")
    register("easy", easy, "EASY backfill: later jobs may start if the first blocked one is not delayed")
    register("easy-sjbf", partial(easy, is_shortest_first=True), "EASY backfill, shortest expected run time first")
    register("slack", slack, "EASY backfill whose promised start may slip by a bounded share of the wait until it")
    register("conservative", conservative, "every job is promised a start, and none is ever moved to a later one")
    register("reserve", partial(conservative, promise_max=RESERVE_COUNT), "the first few jobs are promised a start")
