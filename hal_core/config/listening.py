"""The settings under `listen`, and what they must be together: nobody may be made to send a token over an open line."""

from __future__ import annotations

import attrs

from hal_core.config.kinds import ListOf, Notes, Text, setting
from hal_core.config.scalars import ADDRESS, HOST, MODE, PATH, PATH_OR_NOTHING, interval
from hal_core.parsing.addresses import host_of, is_any_address, is_loopback
from hal_core.parsing.names import parse_line
from hal_core.parsing.text import shown


@attrs.frozen
class ListenSection:
    """Where the daemon takes requests. On the socket callers are known by their user id, so anybody may connect."""

    socket: str = setting(PATH, "path of the Unix socket", "/run/hal/hal.sock")
    group: str = setting(Text("group", parse_line, takes_empty=True), "group of the socket; empty for the daemon's", "")
    mode: int = setting(MODE, 'file mode of the socket; "0660" admits only the group', 0o666)
    address: str = setting(
        ADDRESS, "host:port for callers on other machines, who show a token; empty: there are none", ""
    )
    hosts: tuple[str, ...] = setting(
        ListOf(HOST), "names by which they may call the daemon, besides that of `address`", ()
    )
    certificate: str = setting(
        PATH_OR_NOTHING,
        "PEM file with the daemon's certificate; needed unless `address` is this machine only",
        "",
    )
    key: str = setting(PATH_OR_NOTHING, "PEM file with its key, for the daemon only", "")
    token_lifetime_max: float = setting(interval(1), "how long a token of `hal token` lives at most", 3600.0)
    reports: str = setting(
        PATH_OR_NOTHING, "folder of reports (`hal replay --report`) that administrators see on the web page", ""
    )


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
