"""Which plugins may be loaded: the `plugins` section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from hal_core.config.kinds import Text, setting
from hal_core.models.plugin import Pin
from hal_core.parsing.text import shown, wrong

_VERSION: Final = re.compile(r"[A-Za-z0-9.!+_-]{1,64}")
_DIGEST: Final = re.compile("[0-9a-f]{64}")


def _matching(what: str, pattern: re.Pattern[str], hint: str) -> Text:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise wrong(f"{shown(text)} is not a {what}; {hint}")
        return text

    return Text(what, parse, str, {"type": "string"})


VERSION = _matching("version", _VERSION, "write it as `hal plugins` shows it, in quotes")
DIGEST = _matching("digest", _DIGEST, "write 64 hexadecimal digits, as `hal plugins --here --pin` prints them")


@attrs.frozen
class PinSection:
    """What a plugin must be to be loaded."""

    version: str = setting(VERSION, "its version; left out: any", "")
    sha256: str = setting(DIGEST, "digest of its files; left out: any", "")


def pins_of(plugins: Mapping[str, PinSection]) -> dict[str, Pin]:
    return {name: Pin(each.version, each.sha256) for name, each in plugins.items()}
