"""The OTLP observer: one trace for each job, sent to an OpenTelemetry collector."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="traces of jobs for an OpenTelemetry collector (needs the extra hal-core[otlp])",
    not_yet=("jobs that were submitted before the daemon's start have no trace",),
)


@hookimpl
def hal_register_observers(register: Register) -> None:
    register("otlp", _make, "a trace for each job, by OTLP over HTTP", _options)


def _make(options: Options) -> object:
    from hal_observer_otlp.observer import OtlpObserver

    return OtlpObserver.from_options(options)


def _options() -> type:
    from hal_observer_otlp.observer import OtlpOptions

    return OtlpOptions
