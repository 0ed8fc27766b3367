"""The hooks. They only register factories; nothing here is called inside a loop over jobs, nodes or tasks.

A factory takes the plugin's own options from the YAML and returns the object that does the work. The name given at
registration is the name by which the YAML selects it; `summary` is one line for `hal plugins`; `options` gives the
attrs class of the options, so that a configuration can be checked without making anything that touches the world.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from hal_core.planes import Options

OptionsClass = Callable[[], type[Any]]
"""Called when the class is needed: what it is imported with may be much."""

hookspec = pluggy.HookspecMarker("hal")
hookimpl = pluggy.HookimplMarker("hal")


class Register(Protocol):
    """`register(name, factory, summary, options)`; a name that is taken already is refused at load."""

    def __call__(
        self, name: str, factory: Callable[[Options], Any], summary: str = "", options: OptionsClass | None = None
    ) -> None: ...


@hookspec
def hal_register_engines(register: Register) -> None:
    """Scheduling engines: factory(options) -> planes.Engine."""


@hookspec
def hal_register_predictors(register: Register) -> None:
    """Run-time predictors: factory(options) -> planes.Predictor."""


@hookspec
def hal_register_executors(register: Register) -> None:
    """Executors: factory(options) -> planes.Executor."""


@hookspec
def hal_register_localities(register: Register) -> None:
    """Locality providers: factory(options) -> planes.LocalityProvider."""


@hookspec
def hal_register_observers(register: Register) -> None:
    """Observers of the event log: factory(options) -> planes.Observer."""


@hookspec
def hal_register_clouds(register: Register) -> None:
    """Cloud providers: factory(options) -> planes.CloudProvider."""


@hookspec
def hal_register_notices(register: Register) -> None:
    """Who tells a rented machine, on that machine, that its cloud takes it back: factory(options) -> NoticeSource."""


@hookspec
def hal_register_schedulers(register: Register) -> None:
    """Other schedulers, to be followed by `hal shadow`: factory(options) -> planes.ForeignScheduler. The options are
    those of the executor of the same name; nothing is to be written, here or there."""


@hookspec
def hal_register_trials(register: Register) -> None:
    """What `hal plugin test` needs to try out a registered name: factory({"directory": ...}) -> its trial, a mapping.

    `directory` is an empty one of the trial's own. A trial has `options` (default: none); of a locality provider also
    `present` and `absent` (datasets that exist and do not), `node`, `damaged` (a list of datasets that do not come
    whole) and `content` (the bytes of `present`); of an executor `node`, and the commands `quick` (ends by itself) and
    `endless`. Names without one are tried with no options.
    """
