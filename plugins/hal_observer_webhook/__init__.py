"""The webhook observer: what happens is posted to HTTP receivers, as JSON."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(sdk=1, summary="posts events to HTTP receivers, and misses none")


@hookimpl
def hal_register_observers(register: Register) -> None:
    register(
        "webhook", _make, "events as signed JSON to HTTP receivers, again and again until each has been taken", _options
    )


def _make(options: Options) -> object:
    from hal_observer_webhook.observer import WebhookObserver

    return WebhookObserver.from_options(options)


def _options() -> type:
    from hal_observer_webhook.options import WebhookOptions

    return WebhookOptions
