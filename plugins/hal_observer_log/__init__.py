"""The log observer: every event as one line of JSON, in a file or on standard error."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(sdk=1, summary="one line of JSON for each event")


@hookimpl
def hal_register_observers(register: Register) -> None:
    register(
        "log",
        _make,
        "events as JSON lines to a file or to stderr; scripts, environments and arguments left out",
        _options,
    )


def _make(options: Options) -> object:
    from hal_observer_log.observer import LogObserver

    return LogObserver.from_options(options)


def _options() -> type:
    from hal_observer_log.observer import LogOptions

    return LogOptions
