"""The Prometheus observer: counters, gauges and histograms, computed from the event log."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(sdk=1, summary="metrics in the Prometheus text format")


@hookimpl
def hal_register_observers(register: Register) -> None:
    register("prometheus", _make, "jobs, waiting times, nodes and the journal as metrics", _options)


def _make(options: Options) -> object:
    from hal_observer_prometheus.observer import PrometheusObserver

    return PrometheusObserver.from_options(options)


def _options() -> type:
    from hal_observer_prometheus.observer import PrometheusOptions

    return PrometheusOptions
