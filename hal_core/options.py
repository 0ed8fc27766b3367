"""Plugin options: turns a plugin's section of the YAML into the plugin's own attrs class, or says all that is wrong.

Strict: YAML has types, so nothing is coerced (no "12" for 12, no true for 1), unknown keys are refused with the
nearest known one, and every mistake is reported at once with its place. Units and ranges are the plugin's business:
an attrs validator or converter that raises ValueError becomes a Problem at its field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from hal_core.errors import InvalidInput, Problem, did_you_mean

T = TypeVar("T")


def structure_options(cls: type[T], options: Mapping[str, Any], place: str = "") -> T:
    """An instance of the attrs class `cls` from `options`. Raises InvalidInput with every problem.

    `place` is where the options stand ("cluster.yaml: planes.data"); fields are appended with a dot.
    """
    try:
        return _CONVERTER.structure(options, cls)
    except Exception as error:  # what validators raise is up to the plugin; every kind is reported at its field
        raise InvalidInput(_problems(error, place, cls)) from error


def _strict(wanted: str, *accepted: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, cls: Any) -> Any:
        if isinstance(value, accepted) and not (isinstance(value, bool) and bool not in accepted):
            return cls(value)
        raise TypeError(f"expected {wanted}, not {value!r}")

    return structure


def _guarded(hook: Callable[[Any, Any], Any], wanted: str, *accepted: type) -> Callable[[Any, Any], Any]:
    """cattrs iterates whatever it is given, a text letter by letter: look at the kind of thing first."""

    def structure(value: Any, cls: Any) -> Any:
        if not isinstance(value, accepted):
            raise TypeError(f"expected {wanted}, not {value!r}")
        return hook(value, cls)

    return structure


def _attrs_hook(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    hook = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)
    return _guarded(hook, "a mapping", Mapping)


def _list_hook(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    return _guarded(list_structure_factory(cls, converter), "a list", list, tuple)


def _tuple_hook(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    as_list: Any = GenericAlias(list, get_args(cls)[:1])
    hook = converter.get_structure_hook(as_list)
    return lambda value, _: tuple(hook(value, as_list))


def _mapping_hook(cls: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    return _guarded(mapping_structure_factory(cls, converter), "a mapping", Mapping)


def _is_tuple(cls: Any) -> bool:
    return _origin(cls) is tuple and get_args(cls)[1:] == (...,)


def _origin(cls: Any) -> object:
    return get_origin(cls)


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(bool, _strict("true or false", bool))
    converter.register_structure_hook(int, _strict("a whole number", int))
    converter.register_structure_hook(float, _strict("a number", int, float))
    converter.register_structure_hook(str, _strict("text", str))
    converter.register_structure_hook_factory(attrs.has, _attrs_hook)
    converter.register_structure_hook_factory(lambda cls: _origin(cls) is list, _list_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(lambda cls: _origin(cls) in (dict, Mapping), _mapping_hook)
    return converter


def _problems(error: BaseException, place: str, cls: type | None = None) -> Iterator[Problem]:
    """Walk cattrs' tree of errors down to the leaves, and name each leaf's place."""
    if isinstance(error, ClassValidationError):
        with_notes, without = error.group_exceptions()
        for inner, note in with_notes:
            yield from _problems(inner, _join(place, note.name), note.type)
        for rest in without:
            yield from _problems(rest, place, error.cl)
    elif isinstance(error, IterableValidationError):
        with_notes_of_items, without = error.group_exceptions()
        for inner, item_note in with_notes_of_items:
            yield from _problems(inner, f"{place}[{item_note.index}]", item_note.type)
        for rest in without:
            yield from _problems(rest, place)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        for key in sorted(map(str, error.extra_fields)):
            text = f"unknown option{did_you_mean(key, known)}; known: {', '.join(known) or 'none'}"
            yield Problem(_join(place, key), text)
    elif isinstance(error, KeyError):
        yield Problem(place, "is missing")
    else:
        yield Problem(place, str(error) or type(error).__name__)


def _join(place: str, field: str) -> str:
    return f"{place}.{field}" if place else field


_CONVERTER = _make_converter()
