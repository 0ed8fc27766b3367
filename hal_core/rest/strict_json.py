"""Reads JSON bodies strictly, into attrs classes: nothing is ignored, guessed or converted.

Syntax (also a repeated key, NaN, a depth or a number beyond reason) is a BadRequest; well-formed JSON of the wrong
content is InvalidInput with the place. msgspec alone would take repeated keys and unknown fields, so the object goes
through `json` first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import attrs
import msgspec

from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.rest.answers import BadRequest

T = TypeVar("T")

DEPTH_MAX = 32
INTEGER_DIGITS_MAX = 18
PROBLEMS_MAX = 100

_SUSPICIOUS = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_PLACE = re.compile(r" - at `(?:key in )?\$?\.?(.*)`$")
_BRACKETS = re.compile(rb"[\[{]")


def read_json(body: bytes) -> Any:
    """The body as plain values. Raises BadRequest for what is not strict JSON."""
    if not body:
        raise BadRequest("the body is missing; send a JSON object")
    try:
        text = body.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if len(_BRACKETS.findall(body)) > DEPTH_MAX:
        _check_depth(value)
    if _SUSPICIOUS.search(body):
        _check_strings(value)
    return value


def read_body(body: bytes, cls: type[T]) -> T:
    """The body as an instance of `cls`. Raises BadRequest or InvalidInput."""
    value = read_json(body)
    problems = list(unknown_fields(value, cls, ""))
    if problems:
        raise InvalidInput(problems[:PROBLEMS_MAX])
    return convert(value, cls)


def convert(value: Any, cls: type[T], place: str = "") -> T:
    """Plain values as an instance of `cls`, without conversion of types."""
    try:
        return msgspec.convert(value, cls, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidInput([_problem(str(error), place)]) from None


def unknown_fields(value: Any, cls: type[Any], place: str) -> Iterator[Problem]:
    """A problem for every key that `cls` has no field for, with the nearest name."""
    if not isinstance(value, dict):
        return
    known = field_names(cls)
    for name in value:
        if name not in known:
            yield Problem(join(place, name), f"no such field{did_you_mean(name, known)}")


def field_names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls))


def join(place: str, name: str) -> str:
    """`jobs[3].name` for ("jobs[3]", "name"). What the caller gave is shown escaped and not at length."""
    name = name[:80].encode("unicode_escape").decode("ascii")
    return f"{place}.{name}" if place and name else place or name


def _problem(text: str, place: str) -> Problem:
    """msgspec's message, with its place where HAL's errors have it."""
    found = _PLACE.search(text)
    own = found[1] if found else ""
    return Problem(join(place, own) if own else place, text[: found.start()] if found else text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"key {name[:80]!r} is there twice")
            seen.add(name)
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise ValueError("a whole number has too many digits")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, strict=True)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += [x for x in each.values() if isinstance(x, dict | list)]
            elif isinstance(each, list):
                inner += [x for x in each if isinstance(x, dict | list)]
        if not inner:
            return
        level = inner
    raise BadRequest("the body is nested too deeply")


def _check_strings(value: Any) -> None:
    """Refuse lone surrogates and NUL, which JSON can write but no text, path or argument can hold."""
    left = [("", value)]
    while left:
        place, each = left.pop()
        if isinstance(each, str):
            if "\0" in each or not _is_text(each):
                raise InvalidInput([Problem(place, "holds NUL or half of a surrogate pair")])
        elif isinstance(each, dict):
            left += [(join(place, name if _is_text(name) else "?"), inner) for name, inner in each.items()]
            left += [(place, name) for name in each]
        elif isinstance(each, list):
            left += [(f"{place}[{number}]", inner) for number, inner in enumerate(each)]


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
