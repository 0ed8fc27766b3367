"""Query strings, read against a table of parameters: unknown, repeated and malformed ones are all refused at once.

The same table describes the parameters in OpenAPI.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import attrs
import msgspec

from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.models.job import JobState
from hal_core.rest.answers import BadRequest

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
SEQUENCE_MAX = (1 << 63) - 1
_FIELDS_MAX = 32
_DIGITS = re.compile(r"[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


@attrs.frozen
class Parameter:
    """One query parameter. `read` makes its value of the text or raises ValueError with what would work."""

    name: str
    about: str
    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    default: Any = None


def read_query(query: bytes, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The value of every parameter, given or not. Raises InvalidInput with all problems."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            max_num_fields=_FIELDS_MAX,
            errors="strict",
        )
    except ValueError:
        raise BadRequest("the query is not `name=value&...` in percent-encoded UTF-8") from None
    by_name = {parameter.name: parameter for parameter in parameters}
    values = {parameter.name: parameter.default for parameter in parameters}
    problems: list[Problem] = []
    seen: set[str] = set()
    for name, text in pairs:
        parameter = by_name.get(name)
        if parameter is None:
            shown = ascii(name[:80])[1:-1]
            known = ", ".join(by_name) or "none"
            problems.append(Problem(shown, f"no such query parameter{did_you_mean(name, by_name)}; known: {known}"))
        elif name in seen:
            problems.append(Problem(name, "given twice; give it once"))
        else:
            seen.add(name)
            try:
                values[name] = parameter.read(text)
            except ValueError as error:
                problems.append(Problem(name, f"{text[:80]!r} {error}"))
    if problems:
        raise InvalidInput(problems)
    return values


def integer(name: str, about: str, low: int, high: int, default: int | None = None) -> Parameter:
    def read(text: str) -> int:
        if _DIGITS.fullmatch(text) is None or not low <= int(text) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(text)

    return Parameter(name, about, read, {"type": "integer", "minimum": low, "maximum": high}, default)


def number(name: str, about: str, high: float, default: float | None = None) -> Parameter:
    def read(text: str) -> float:
        if _NUMBER.fullmatch(text) is None or float(text) > high:
            raise ValueError(f"is not a number from 0 to {high:.0f}")
        return float(text)

    return Parameter(name, about, read, {"type": "number", "minimum": 0, "maximum": high}, default)


def one_of(name: str, about: str, choices: Sequence[str]) -> Parameter:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}{did_you_mean(text, choices)}")
        return text

    return Parameter(name, about, read, {"type": "string", "enum": list(choices)})


def some_of(name: str, about: str, choices: Sequence[str]) -> Parameter:
    """Several of them, separated by commas."""
    known = ", ".join(choices)

    def read(given: str) -> frozenset[str]:
        parts = given.split(",")
        for part in parts:
            if part not in choices:
                raise ValueError(f"holds {part[:80]!r}, which is not one of {known}{did_you_mean(part, choices)}")
        return frozenset(parts)

    return Parameter(name, about, read, {"type": "string", "maxLength": 256}, frozenset())


def text(name: str, about: str) -> Parameter:
    return Parameter(name, about, _plain, {"type": "string", "maxLength": 256})


def texts(name: str, about: str) -> Parameter:
    """Several texts, separated by commas."""

    def read(given: str) -> frozenset[str]:
        return frozenset(_plain(part) for part in given.split(","))

    return Parameter(name, about, read, {"type": "string", "maxLength": 4096}, frozenset())


def states(about: str) -> Parameter:
    """Job states, separated by commas."""
    known = [state.value for state in JobState]

    def read(given: str) -> frozenset[JobState]:
        parts = given.split(",")
        for part in parts:
            if part not in known:
                raise ValueError(
                    f"holds {part!r}, which is no state{did_you_mean(part.upper(), known)}; states: {', '.join(known)}"
                )
        return frozenset(JobState(part) for part in parts)

    return Parameter("state", about, read, {"type": "string"}, frozenset())


def _plain(given: str) -> str:
    if not 0 < len(given) <= 256 or not given.isprintable():
        raise ValueError("is not a printable text of 1 to 256 characters")
    return given


LIMIT = integer("limit", "how many entries at most", 1, LIMIT_MAX, LIMIT_DEFAULT)


def cursor_of(cls: type[Any]) -> Parameter:
    """The opaque text of `write_cursor`, read back into an instance of `cls`."""

    def read(given: str) -> Any:
        try:
            packed = base64.b64decode(given.encode("ascii"), altchars=b"-_", validate=True)
            value = msgspec.msgpack.decode(packed, type=cls, strict=True)
        except (ValueError, msgspec.DecodeError):
            raise ValueError("was not given out by HAL; start again without a cursor") from None
        if write_cursor(value) != given:
            raise ValueError("was changed; start again without a cursor")
        return value

    return Parameter("cursor", "`next_cursor` of the page before", read, {"type": "string", "maxLength": 512})


def write_cursor(value: Any) -> str | None:
    """A position as opaque text; None stays None."""
    if value is None:
        return None
    return base64.b64encode(msgspec.msgpack.encode(value), altchars=b"-_").decode("ascii")
