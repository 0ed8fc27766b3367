"""GPUs (`2`, `a100:2`), generic resources (`fast_disk:2,x`) and licences (`matlab:2`) in a request."""

from __future__ import annotations

import re

import attrs

from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import parse_count, shown, wrong

_SHARE = re.compile(r"0\.[0-9]{1,3}")


@attrs.frozen
class Gpus:
    """A number of GPUs, of one type or (empty) of any; or, with a count of 0, a share of one in thousandths."""

    count: int
    type: str = ""
    milli: int = 0


@attrs.frozen
class Generic:
    """Generic resources for each node, sorted by name; Slurm's `gpu` among them is kept apart."""

    amounts: tuple[tuple[str, int], ...] = ()
    gpus: Gpus | None = None


def parse_gpus(text: str) -> Gpus:
    """`2`, `a100:2`, or a share of one device: `0.5`. Several types in one request are not supported."""
    if "," in text:
        raise wrong(f"{shown(text)} asks for several types of GPU; one type per job is supported, such as a100:2")
    kind, colon, count = text.rpartition(":")
    if not text or (colon and not kind):
        raise wrong(f"{shown(text)} is not a number of GPUs; write 2 or a100:2")
    type_name = parse_identifier(kind) if colon else ""
    if "." in count:
        return Gpus(0, type_name, _parse_milli(count))
    return Gpus(parse_count(count), type_name)


def _parse_milli(text: str) -> int:
    if not _SHARE.fullmatch(text) or not float(text):
        raise wrong(f"{shown(text)} is no share of a GPU; write 0.001 to 0.999, or a whole number of them")
    return round(float(text) * 1000)


def format_gpus(gpus: Gpus) -> str:
    count = f"{gpus.milli / 1000:g}" if gpus.milli else str(gpus.count)
    return f"{gpus.type}:{count}" if gpus.type else count


def parse_generic(text: str) -> Generic:
    """`licence_x:2,fast_disk,gpu:a100:1`; a name alone is one. `none` asks for nothing."""
    amounts: dict[str, int] = {}
    gpus = None
    for part in () if text.lower() == "none" else text.split(","):
        name, colon, rest = part.partition(":")
        if name == "gpu":
            if gpus is not None:
                raise wrong(f"{shown(text)} names gpu twice; one type of GPU per job is supported")
            gpus = _parse_generic_gpus(rest, bool(colon))
        elif parse_identifier(name) in amounts:
            raise wrong(f"{shown(text)} names {name!r} twice; name every resource once")
        elif ":" in rest:
            raise wrong(f"{shown(part)}: only GPUs have types; write {name}:2")
        else:
            amounts[name] = parse_count(rest, low=1) if colon else 1
    return Generic(tuple(sorted(amounts.items())), gpus)


def format_generic(generic: Generic) -> str:
    """The inverse of `parse_generic`."""
    parts = [f"{name}:{count}" for name, count in generic.amounts]
    if generic.gpus is not None:
        parts.insert(0, f"gpu:{format_gpus(generic.gpus)}")
    return ",".join(parts) or "none"


def parse_licences(text: str) -> tuple[tuple[str, int], ...]:
    """`matlab:2,ansys`; a name alone is one. Sorted by name."""
    if "|" in text:
        raise wrong(f"{shown(text)}: alternatives are not supported; name licences that are all needed: matlab:2,ansys")
    generic = parse_generic(text)
    if generic.gpus is not None:
        raise wrong(f"{shown(text)}: GPUs are no licences; use --gpus-per-node")
    return generic.amounts


def _parse_generic_gpus(rest: str, has_colon: bool) -> Gpus:
    """After `gpu`: nothing, `:2`, `:a100` or `:a100:2`."""
    if not has_colon:
        return Gpus(1)
    if ":" not in rest and not rest[:1].isdigit():
        return Gpus(1, parse_identifier(rest))
    return parse_gpus(rest)
