"""The plugin host: finds plugins by entry point, lets each register factories, and makes planes by name.

Plugins are found in the entry point group `hal` and nowhere else (a folder of the same name beside the program proves
nothing). Each is loaded behind a wall: one that fails to import or to register, in whatever way, is listed as broken
with the reason and the others go on. Nothing is ever chosen by load or hook order: a name that two plugins register
belongs to neither until one of them is disabled. Only this module and hookspecs.py know pluggy.

    HAL_DISABLED_PLUGINS=ml,aws   leaves plugins out, by entry point name
    HAL_TRACE_PLUGINS=1           writes each hook call and registration to stderr
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Final, TextIO, TypeVar, cast

import attrs
import pluggy

from hal_core import hookspecs
from hal_core.errors import HalError, NotFound, PluginError, did_you_mean
from hal_core.models.plugin import SDK_VERSION, Installed, Pin, PluginInfo, PluginListing, PluginStatus, Provided
from hal_core.planes import (
    CloudProvider,
    Engine,
    Executor,
    ForeignScheduler,
    LocalityProvider,
    NoticeSource,
    Observer,
    Options,
    Predictor,
)
from hal_core.plugin_files import digest_of, why_untrusted

ENTRY_POINT_GROUP: Final = "hal"

PLANES: Final[Mapping[str, tuple[str, type]]] = {
    "engine": ("hal_register_engines", Engine),
    "predictor": ("hal_register_predictors", Predictor),
    "executor": ("hal_register_executors", Executor),
    "locality": ("hal_register_localities", LocalityProvider),
    "observer": ("hal_register_observers", Observer),
    "cloud": ("hal_register_clouds", CloudProvider),
}
"""Plane -> (the hook that registers its factories, the Protocol that a factory's result must have)."""
REGISTERED: Final[Mapping[str, tuple[str, type]]] = {
    **PLANES,
    "notices": ("hal_register_notices", NoticeSource),
    "scheduler": ("hal_register_schedulers", ForeignScheduler),
}
"""And what is registered in the same way, but not made by the daemon: on rented machines, and by `hal shadow`."""

Factory = Callable[[Options], Any]
T = TypeVar("T")


@attrs.frozen
class _Registration:
    plane: str
    name: str
    factory: Factory
    summary: str
    options: hookspecs.OptionsClass | None
    plugin: str


@attrs.frozen
class _Candidate:
    """A plugin as found, and what became of it."""

    entry_point: EntryPoint
    status: PluginStatus
    info: PluginInfo | None = None
    registrations: tuple[_Registration, ...] = ()
    trials: tuple[_Registration, ...] = ()
    reason: str = ""


class Plugins:
    """The plugins of this process and their registries. Made once, by `load`, in the composition root."""

    def __init__(self, candidates: Iterable[_Candidate]) -> None:
        self._candidates = tuple(sorted(candidates, key=lambda candidate: candidate.entry_point.name))
        self._registry: dict[tuple[str, str], list[_Registration]] = {}
        for candidate in self._candidates:
            for registration in candidate.registrations:
                self._registry.setdefault((registration.plane, registration.name), []).append(registration)

    @classmethod
    def load(
        cls,
        environment: Mapping[str, str] = os.environ,
        found: Iterable[EntryPoint] | None = None,
        trace_to: TextIO | None = None,
        pins: Mapping[str, Pin] | None = None,
    ) -> Plugins:
        """Load the installed plugins (or those in `found`): those that are pinned, or all if none is. Never raises for
        a bad plugin: see `listing`."""
        disabled = {name.strip() for name in environment.get("HAL_DISABLED_PLUGINS", "").split(",")}
        trace = (trace_to or sys.stderr) if environment.get("HAL_TRACE_PLUGINS", "") not in ("", "0") else None
        by_name: dict[str, dict[tuple[str, str], EntryPoint]] = {}
        for entry_point in entry_points(group=ENTRY_POINT_GROUP) if found is None else found:
            same_name = by_name.setdefault(entry_point.name, {})
            same_name[_distribution(entry_point)[0], entry_point.value] = entry_point
        candidates: list[_Candidate] = []
        for name, same in by_name.items():
            left_out = ""
            if name in disabled:
                left_out = "HAL_DISABLED_PLUGINS"
            elif pins and name not in pins:
                left_out = "not named under `plugins` in the configuration"
            if left_out:
                candidates += [_Candidate(each, PluginStatus.DISABLED, reason=left_out) for each in same.values()]
            elif len(same) > 1:
                owners = " and ".join(sorted(f"{each.value} of {_distribution(each)[0]}" for each in same.values()))
                reason = f"two plugins are named {name!r}: {owners}; uninstall one"
                candidates += [_Candidate(each, PluginStatus.BROKEN, reason=reason) for each in same.values()]
            else:
                pin = (pins or {}).get(name, Pin())
                candidates += [_load_walled(each, pin, trace) for each in same.values()]
        return cls(candidates)

    def engine(self, name: str, options: Options | None = None) -> Engine:
        """The scheduling engine of that name, made with these options. Raises NotFound, PluginError or UserError."""
        return cast("Engine", self._make("engine", name, options))

    def predictor(self, name: str, options: Options | None = None) -> Predictor:
        return cast("Predictor", self._make("predictor", name, options))

    def executor(self, name: str, options: Options | None = None) -> Executor:
        return cast("Executor", self._make("executor", name, options))

    def locality(self, name: str, options: Options | None = None) -> LocalityProvider:
        return cast("LocalityProvider", self._make("locality", name, options))

    def observer(self, name: str, options: Options | None = None) -> Observer:
        return cast("Observer", self._make("observer", name, options))

    def cloud(self, name: str, options: Options | None = None) -> CloudProvider:
        return cast("CloudProvider", self._make("cloud", name, options))

    def notices(self, name: str, options: Options | None = None) -> NoticeSource:
        return cast("NoticeSource", self._make("notices", name, options))

    def scheduler(self, name: str, options: Options | None = None) -> ForeignScheduler:
        return cast("ForeignScheduler", self._make("scheduler", name, options))

    def options_class(self, plane: str, name: str) -> type[Any] | None:
        """The attrs class of its options; None if its plugin does not say. Raises NotFound, or PluginError, also if
        what the plugin says is no such class."""
        registration = self._find(plane, name)
        options = registration.options
        if options is None:
            return None

        def say() -> type[Any]:
            cls = options()
            if not (isinstance(cls, type) and attrs.has(cls)):
                of = f"{plane} {name!r} of plugin {registration.plugin!r}"
                raise PluginError(f"{of}: its options must be a function that returns an attrs class, not {cls!r:.60}")
            return cls

        return _walled(registration, "say the options of", say)

    def trial(self, name: str, directory: str) -> Mapping[str, Any]:
        """What its plugin says that `name` is to be tried out with; nothing if it says nothing."""
        for trial in (trial for candidate in self._candidates for trial in candidate.trials if trial.name == name):
            made: Mapping[str, Any] = trial.factory({"directory": directory})
            return made
        return {}

    def names(self, plane: str) -> tuple[str, ...]:
        """The names by which the YAML can select something on this plane, sorted."""
        assert plane in REGISTERED, plane
        return tuple(sorted(name for (of, name), owners in self._registry.items() if of == plane and len(owners) == 1))

    def installed(self) -> Installed:
        """For checking a configuration before anything is built from it."""
        why_not = {each.entry_point.name: each.reason for each in self._candidates}
        return Installed({plane: self.names(plane) for plane in PLANES}, why_not)

    def listing(self) -> tuple[PluginListing, ...]:
        """What is installed, what each registered, and why one is not loaded. For `hal plugins`."""
        return tuple(self._list(candidate) for candidate in self._candidates)

    def _make(self, plane: str, name: str, options: Options | None) -> object:
        registration = self._find(plane, name)
        given: Options = {} if options is None else options
        made = _walled(registration, "make", lambda: registration.factory(given))
        missing = [method for method in _methods(REGISTERED[plane][1]) if not callable(getattr(made, method, None))]
        if missing:
            text = f"{plane} {name!r} of plugin {registration.plugin!r} is a {type(made).__name__} without {missing}"
            raise PluginError(text)
        return made

    def _find(self, plane: str, name: str) -> _Registration:
        owners = self._registry.get((plane, name), [])
        if len(owners) == 1:
            return owners[0]
        if owners:
            raise PluginError(_conflict(owners))
        names = self.names(plane)
        text = f"no {plane} named {name!r}; installed: {', '.join(names) or 'none'}{did_you_mean(name, names)}"
        broken = [each for each in self._candidates if each.status is PluginStatus.BROKEN]
        for candidate in broken:
            text += f"\nplugin {candidate.entry_point.name!r} is broken: {candidate.reason}"
        raise NotFound(text)

    def _list(self, candidate: _Candidate) -> PluginListing:
        distribution, version = _distribution(candidate.entry_point)
        conflicts = [
            _conflict(owners)
            for each in candidate.registrations
            if len(owners := self._registry[each.plane, each.name]) > 1
        ]
        info = candidate.info
        return PluginListing(
            name=candidate.entry_point.name,
            module=candidate.entry_point.value,
            distribution=distribution,
            version=version,
            status=candidate.status,
            summary=info.summary if info else "",
            not_yet=info.not_yet if info else (),
            provides=tuple(Provided(each.plane, each.name, each.summary) for each in candidate.registrations),
            reason="\n".join(filter(None, [candidate.reason, *conflicts])),
        )


def pins_here(names: Iterable[str]) -> dict[str, Pin]:
    """What plugins of these names are, so that a configuration can insist on it."""
    found = {each.name: each for each in entry_points(group=ENTRY_POINT_GROUP)}
    return {name: Pin(_distribution(found[name])[1], digest_of(found[name])) for name in names}


def _load_walled(entry_point: EntryPoint, pin: Pin, trace: TextIO | None) -> _Candidate:
    """Import one plugin and let it register. All or nothing: what fails half-way has registered nothing."""
    try:
        _check_files(entry_point, pin)
        info, registrations, trials = _load(entry_point, trace)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the wall: even SystemExit in a plugin must not end the daemon
        reason = str(error) if isinstance(error, HalError) else _describe(error)
        return _Candidate(entry_point, PluginStatus.BROKEN, reason=reason)
    return _Candidate(entry_point, PluginStatus.LOADED, info, tuple(registrations), tuple(trials))


def _walled(registration: _Registration, what: str, call: Callable[[], T]) -> T:
    """The wall: whatever a plugin raises, the host goes on. What it refuses on purpose comes through as it is."""
    try:
        return call()
    except (HalError, KeyboardInterrupt):
        raise
    except BaseException as error:
        of = f"{registration.plane} {registration.name!r}"
        raise PluginError(f"plugin {registration.plugin!r} failed to {what} {of}: {_describe(error)}") from error


def _check_files(entry_point: EntryPoint, pin: Pin) -> None:
    """Raise PluginError, before any of it is run, if it is not what it should be or others may change it."""
    if why := why_untrusted(entry_point):
        raise PluginError(why)
    version = _distribution(entry_point)[1]
    if pin.version and pin.version != version:
        raise PluginError(f"version {version} is installed; {pin.version} is pinned")
    if pin.sha256 and pin.sha256 != (digest := digest_of(entry_point)):
        raise PluginError(f"its files have the digest {digest}; pinned is another")


def _load(entry_point: EntryPoint, trace: TextIO | None) -> tuple[PluginInfo, list[_Registration], list[_Registration]]:
    module = entry_point.load()
    info = _info(module)
    # A manager for each plugin: what one does wrong with hooks cannot be felt by another.
    manager = pluggy.PluginManager("hal")
    manager.add_hookspecs(hookspecs)
    manager.register(module, entry_point.name)
    manager.check_pending()
    if trace is not None:
        _trace_calls(manager, entry_point.name, trace)
    registrations: list[_Registration] = []
    for plane, (hook, _) in REGISTERED.items():
        getattr(manager.hook, hook)(register=_register_for(plane, entry_point.name, registrations, trace))
    trials: list[_Registration] = []
    manager.hook.hal_register_trials(register=_register_for("trial", entry_point.name, trials, trace))
    return info, registrations, trials


def _register_for(
    plane: str, plugin: str, registrations: list[_Registration], trace: TextIO | None
) -> hookspecs.Register:
    """The `register` that one plugin is given for one plane."""

    def register(name: str, factory: Factory, summary: str = "", options: hookspecs.OptionsClass | None = None) -> None:
        if not isinstance(name, str) or not name or not name.isprintable():
            raise PluginError(f"{plane} name must be printable text, not {name!r}")
        if not callable(factory):
            raise PluginError(f"{plane} {name!r}: the factory must be callable, not {factory!r}")
        if any(each.plane == plane and each.name == name for each in registrations):
            raise PluginError(f"plugin {plugin!r} registers {plane} {name!r} twice")
        registrations.append(_Registration(plane, name, factory, summary, options, plugin))
        if trace is not None:
            trace.write(f"hal plugins: {plugin} registered {plane} {name!r}\n")

    return register


def _info(module: ModuleType) -> PluginInfo:
    info = getattr(module, "__hal_plugin__", None)
    if not isinstance(info, PluginInfo):
        wanted = f'__hal_plugin__ = hal_core.PluginInfo(sdk={SDK_VERSION}, summary="...")'
        raise PluginError(f"{module.__name__} does not say for which SDK it was written: add {wanted}")
    if info.sdk != SDK_VERSION:
        raise PluginError(f"written for SDK version {info.sdk}; this HAL has version {SDK_VERSION}")
    return info


def _trace_calls(manager: pluggy.PluginManager, plugin: str, trace: TextIO) -> None:
    def before(hook_name: str, methods: Sequence[pluggy.HookImpl], arguments: Mapping[str, Any]) -> None:
        if methods:
            trace.write(f"hal plugins: {plugin} {hook_name}({', '.join(arguments)})\n")

    def after(*_: object) -> None:
        trace.flush()

    manager.add_hookcall_monitoring(before, after)


def _conflict(owners: list[_Registration]) -> str:
    first = owners[0]
    names = " and ".join(repr(owner.plugin) for owner in owners)
    return f"{first.plane} {first.name!r} is registered by {names}: disable one (HAL_DISABLED_PLUGINS)"


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    """(name, version) of the distribution that an entry point came from."""
    return (entry_point.dist.name, entry_point.dist.version) if entry_point.dist else ("", "")


def _methods(protocol: type) -> list[str]:
    return [name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")]


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
