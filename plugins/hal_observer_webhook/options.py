"""The options of the webhook observer: who is told what."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import Any, Final

import attrs
import httpx

from hal_core import Event, HalError, did_you_mean

KINDS: Final = frozenset(cls.__name__ for cls in Event.__args__)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def _is_url(_: object, __: object, url: str) -> None:
    try:
        parts = httpx.URL(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.host)
    except httpx.InvalidURL:
        is_whole = False
    if not is_whole:
        raise ValueError(f"expected http://... or https://..., not {url!r}")


def _are_kinds(_: object, __: object, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"no event is called {kind!r}{did_you_mean(kind, KINDS)}; such as JobEnded, NodeWentDown")


def _is_absolute(_: object, __: object, path: str) -> None:
    if path and not path.startswith("/"):
        raise ValueError(f"expected an absolute path, not {path!r}")


def _are_named(_: object, __: object, receivers: Mapping[str, Any]) -> None:
    if not receivers:
        raise ValueError("expected at least one receiver, such as {chat: {url: https://...}}")
    for name in receivers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a receiver's name is of a-z, 0-9, - and _, not {name!r}: a file is called by it")


@attrs.frozen
class Receiver:
    """One URL, and what is posted there. No `events`: of all kinds; no `users`: of all, and what is about no job."""

    url: str = attrs.field(validator=_is_url)
    events: tuple[str, ...] = attrs.field(default=(), validator=_are_kinds)
    users: tuple[str, ...] = ()
    secret_file: str = attrs.field(default="", validator=_is_absolute)
    """What is in it signs each delivery."""
    timeout_s: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    """For one attempt, from the connection to the answer."""

    def secret(self) -> bytes:
        """Raises HalError if there is none to be had, or others can read it."""
        try:
            with open(self.secret_file, "rb") as file:
                if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise HalError(f"{self.secret_file}: others can read it: chmod 0600 {self.secret_file}")
                secret = file.read().strip()
        except OSError as error:
            raise HalError(f"{self.secret_file}: {error.strerror}") from None
        if not secret:
            raise HalError(f"{self.secret_file}: is empty; write a random text into it")
        return secret


@attrs.frozen
class WebhookOptions:
    receivers: Mapping[str, Receiver] = attrs.field(validator=_are_named)
