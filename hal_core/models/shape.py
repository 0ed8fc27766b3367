"""Is a value of a model's class made of what the class says, all the way down? For what comes from plugins.

Types of fields are taken at their word, and no class derived from one gets through: looking at it might call the
plugin. What is sound can be journalled, and is read back as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Final, NewType, get_args, get_origin, get_type_hints

import attrs

INT_MAX: Final = 2**53
"""Beyond that, not every reader of JSON gets the number that was written."""
TEXT_MAX: Final = 65_536

Find = Callable[[object], str]
"""What is wrong with a value, with the way to it: ".parts[0].end_time_s is nan"; the empty string: nothing."""


def fault_in(value: object, cls: type) -> str:
    """What is wrong with it as one of `cls`, with the way to it; the empty string: nothing.

    Fields may be classes of attrs, named tuples, texts, whole and finite numbers, truth values, enums, tuples of these,
    and None where they say so.
    """
    return _finder(cls)(value)


def shown(value: object) -> str:
    """A value that may be anything: a number or a text as it is, of all else its class."""
    return f"{value!r:.60}" if type(value) in (str, int, float, bool, type(None)) else f"a {type(value).__name__}"


@cache
def _finder(kind: Any) -> Find:
    if isinstance(kind, NewType):
        return _finder(kind.__supertype__)
    if isinstance(kind, UnionType):
        return _one_of([_finder(each) for each in get_args(kind)])
    if get_origin(kind) is tuple:
        return _tuple_of(get_args(kind))
    if attrs.has(kind):
        return _class_of(kind, [field.name for field in attrs.fields(kind)])
    if issubclass(kind, tuple):
        return _class_of(kind, kind._fields)
    if issubclass(kind, Enum):
        return lambda value: "" if type(value) is kind else f" is {shown(value)}, not a {kind.__name__}"
    return _PLAIN[kind]


def _class_of(cls: type, names: Sequence[str]) -> Find:
    hints = get_type_hints(cls)
    fields = [(name, _finder(hints[name])) for name in names]

    def find(value: object) -> str:
        if type(value) is not cls:
            return f" is {shown(value)}, not a {cls.__name__}"
        for name, find_in in fields:
            if fault := find_in(getattr(value, name)):
                return f".{name}{fault}"
        return ""

    return find


def _tuple_of(kinds: tuple[Any, ...]) -> Find:
    if kinds[1:] == (...,):
        each_finder = _finder(kinds[0])
        return lambda value: _in_tuple(value, [each_finder] * len(value) if type(value) is tuple else [])
    finders = [_finder(kind) for kind in kinds]
    return lambda value: _in_tuple(value, finders)


def _in_tuple(value: object, finders: list[Find]) -> str:
    if type(value) is not tuple:
        return f" is {shown(value)}, not a tuple"
    if len(value) != len(finders):
        return f" has {len(value)} items, not {len(finders)}"
    for at, (item, find) in enumerate(zip(value, finders, strict=True)):
        if fault := find(item):
            return f"[{at}]{fault}"
    return ""


def _one_of(finders: list[Find]) -> Find:
    """The fault of the last but None is told: the others are None, or a class beside it."""

    def find(value: object) -> str:
        fault = ""
        for each in finders:
            found = each(value)
            if not found:
                return ""
            fault = fault or found
        return fault

    return find


def _text(value: object) -> str:
    if type(value) is not str:
        return f" is {shown(value)}, not a text"
    if len(value) > TEXT_MAX:
        return f" has {len(value)} characters; at most {TEXT_MAX} are taken"
    return "" if value.isascii() or _has_bytes(value) else " is a text that UTF-8 does not know"


def _has_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole_number(value: object) -> str:
    return "" if type(value) is int and -INT_MAX <= value <= INT_MAX else f" is {shown(value)}, not a whole number"


def _number(value: object) -> str:
    is_one = (type(value) is float and math.isfinite(value)) or (type(value) is int and -INT_MAX <= value <= INT_MAX)
    return "" if is_one else f" is {shown(value)}, not a finite number"


_PLAIN: Final[dict[type, Find]] = {
    str: _text,
    int: _whole_number,
    float: _number,
    bool: lambda value: "" if type(value) is bool else f" is {shown(value)}, not true or false",
    type(None): lambda value: "" if value is None else f" is {shown(value)}, not None",
}
