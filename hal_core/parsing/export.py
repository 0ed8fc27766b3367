"""`--export`: which variables of the caller's environment a job sees. `ALL`, `NONE`, names, and `NAME=value`."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from hal_core.parsing.names import parse_environment_name
from hal_core.parsing.text import shown, wrong


@attrs.frozen
class Export:
    """`takes_all` takes everything; `names` are taken from the caller; `values` are set."""

    takes_all: bool = True
    names: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()

    def apply(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The job's environment. A name that the caller does not have is left out, as in Slurm."""
        kept = dict(environment) if self.takes_all else {n: environment[n] for n in self.names if n in environment}
        kept.update(self.values)
        return kept


EXPORT_ALL = Export()


def parse_export(text: str) -> Export:
    """`ALL`, `NONE`, `ALL,NAME=value`, `NAME,OTHER='a,b'`."""
    parts = _split(text)
    if parts in (["NONE"], ["NIL"]):
        return Export(takes_all=False)
    names: list[str] = []
    values: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if name in ("NONE", "NIL") and not equals:
            raise wrong(f"{shown(text)}: {name} cannot stand beside other names")
        if name == "ALL" and not equals:
            continue
        parse_environment_name(name)
        if equals:
            values[name] = value
        else:
            names.append(name)
    return Export("ALL" in parts, tuple(names), tuple(values.items()))


def _split(text: str) -> list[str]:
    """Parts between commas; quotes protect commas and are removed."""
    parts, part, quote = [], "", ""
    for character in text:
        if quote:
            if character == quote:
                quote = ""
            else:
                part += character
        elif character in "'\"":
            quote = character
        elif character == ",":
            parts.append(part)
            part = ""
        else:
            part += character
    if quote:
        raise wrong(f"{shown(text)} opens a quote {quote} and does not close it")
    return [*parts, part]
