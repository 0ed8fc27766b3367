"""The options of the mail observer: who is told what, and through which relay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from hal_core import Event, did_you_mean

KINDS: Final = frozenset(cls.__name__ for cls in Event.__args__)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(rf"{_WORD}(\.{_WORD})*@[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)*")
"""The plain form of RFC 5322, 3.4.1: no quotes, no comments, nothing that could be read as two addresses."""


def is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


def _is_address(_: object, __: object, address: str) -> None:
    if not is_address(address):
        raise ValueError(f"expected an address such as ada@example.org, not {address!r}")


def _are_kinds(_: object, __: object, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"no event is called {kind!r}{did_you_mean(kind, KINDS)}; such as JobEnded, NodeWentDown")


def _is_host(_: object, __: object, relay: str) -> None:
    host, _, port = relay.partition(":")
    if not host or not (port.isdecimal() or relay == host):
        raise ValueError(f"expected host or host:port, not {relay!r}")


def _is_domain(_: object, __: object, domain: str) -> None:
    if domain and not is_address(f"user@{domain}"):
        raise ValueError(f"expected a domain such as example.org, not {domain!r}")


def _are_named(_: object, __: object, recipients: Mapping[str, Any]) -> None:
    for name in recipients:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a recipient's name is of a-z, 0-9, - and _, not {name!r}: a file is called by it")


@attrs.frozen
class Recipient:
    """An address, and what is mailed there. No `users`: what happens to the jobs of all, and what is about no job."""

    address: str = attrs.field(validator=_is_address)
    events: tuple[str, ...] = attrs.field(default=("JobEnded",), validator=_are_kinds)
    users: tuple[str, ...] = ()
    only_failures: bool = False
    """Of ends, only those of jobs that did not complete."""


@attrs.frozen
class MailOptions:
    sender: str = attrs.field(validator=_is_address)
    recipients: Mapping[str, Recipient] = attrs.field(factory=dict, validator=_are_named)
    domain: str = attrs.field(default="", validator=_is_domain)
    """Of users: what the jobs of ada ask for is mailed to ada@example.org. Empty: jobs have to name an address."""
    relay: str = attrs.field(default="localhost:25", validator=_is_host)
    has_starttls: bool = False
    pause_s: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))
    """From one mail to the next to the same recipient; what happens meanwhile is in the next one."""
    timeout_s: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    """For each answer of the relay."""
