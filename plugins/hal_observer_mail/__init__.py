"""The mail observer: what happens is mailed, through a relay."""

from hal_core import Options, PluginInfo, Register, hookimpl

__hal_plugin__ = PluginInfo(
    sdk=1,
    summary="mails events through an SMTP relay, and misses none",
    not_yet=("logging in to a relay",),
)


@hookimpl
def hal_register_observers(register: Register) -> None:
    register("mail", _make, "events by mail, several at once where they come thick and fast", _options)


def _make(options: Options) -> object:
    from hal_observer_mail.observer import MailObserver

    return MailObserver.from_options(options)


def _options() -> type:
    from hal_observer_mail.options import MailOptions

    return MailOptions
