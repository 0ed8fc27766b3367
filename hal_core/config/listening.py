"""What the settings under `listen` must be together: nobody may be made to send a token over an open line."""

from __future__ import annotations

from hal_core.config.kinds import Notes
from hal_core.config.schema import ListenSection
from hal_core.parsing.addresses import host_of, is_any_address, is_loopback
from hal_core.parsing.text import shown


def check_listening(listen: ListenSection, notes: Notes) -> None:
    """Note what does not go together."""
    if not listen.address:
        for name in ("hosts", "certificate", "key"):
            if getattr(listen, name):
                notes.at(f"listen.{name}", "only goes with `address`; add it, or remove this")
        return
    host = host_of(listen.address)
    if bool(listen.certificate) != bool(listen.key):
        missing = "key" if listen.certificate else "certificate"
        notes.at("listen.address", f"`certificate` and `key` go together; `{missing}` is missing")
    elif not listen.certificate and not is_loopback(host):
        text = f"{shown(listen.address)} can be reached from other machines; give `certificate` and `key`"
        notes.at("listen.address", f"{text}, or listen on 127.0.0.1")
    if is_any_address(host) and not listen.hosts:
        text = "stands for all addresses of this machine; say under `hosts` by which names the daemon may be called"
        notes.at("listen.address", f"{shown(host)} {text}")
