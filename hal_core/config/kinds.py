"""The kinds of value a configuration can hold: how each is read from the tree, and how it is published as JSON Schema.

A kind is what a field of a schema class is declared with (`setting`). Reading notes every problem with its line and
goes on; a scalar means what its field says, so a partition named `no` or `007` keeps its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, Protocol

import attrs

from hal_core.config.document import Node, Scalar, Section, Sequence
from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.parsing.text import placed, shown, wrong

INVALID: Final = object()
"""What reading gives for a value that was wrong; its problem is noted."""
REQUIRED: Final = attrs.NOTHING
PROBLEMS_MAX: Final = 200
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}([eE][+-]?[0-9]{1,2})?")


class Notes:
    """Problems found so far, and where each path of the configuration stands in the file.

    `sections` holds the top-level values that were read well: what can be checked with them alone still is, when
    others are wrong.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.places: dict[str, str] = {}
        self.sections: dict[str, Any] = {}

    def add(self, place: str, path: str, text: str) -> None:
        self.extend([Problem(place, f"{path}: {text}" if path else text)])

    def at(self, path: str, text: str) -> None:
        """At the line of `path`, or of the nearest section around it."""
        around = path
        while around and around not in self.places:
            around = around.rpartition(".")[0]
        self.add(self.places.get(around, ""), path, text)

    def extend(self, problems: list[Problem]) -> None:
        """Raises InvalidInput when there are too many to be worth reading."""
        self.problems += problems
        if len(self.problems) > PROBLEMS_MAX:
            raise InvalidInput([*self.problems, Problem("", f"more than {PROBLEMS_MAX} problems; reading stopped")])


class Kind(Protocol):
    """One kind of value."""

    @property
    def title(self) -> str:
        """One or two words for documentation: `memory`, `list of hosts`."""
        ...

    def read(self, node: Node, path: str, notes: Notes) -> Any:
        """The value, or INVALID with the problem noted."""
        ...

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """JSON Schema; sections add themselves to `definitions`."""
        ...


@attrs.frozen
class Text:
    """A scalar with a parser. `show` is its inverse, for printing defaults."""

    title: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    json: Mapping[str, Any] = attrs.field(factory=lambda: {"type": "string"})
    takes_empty: bool = False

    def read(self, node: Node, path: str, notes: Notes) -> Any:
        if not isinstance(node, Scalar):
            notes.add(node.place, path, f"must be a single value ({self.title}), not a {_what(node)}")
            return INVALID
        if not node.text and not self.takes_empty:
            notes.add(node.place, path, f"is empty; give a value ({self.title}) or remove the key")
            return INVALID
        try:
            return self.parse(node.text)
        except InvalidInput as error:
            notes.extend(placed(error, node.place, path))
            return INVALID

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return dict(self.json)


@attrs.frozen
class ListOf:
    """A list; a single value may stand for a list of one."""

    kind: Kind

    @property
    def title(self) -> str:
        return f"list of {self.kind.title}"

    def read(self, node: Node, path: str, notes: Notes) -> Any:
        if isinstance(node, Scalar) and isinstance(self.kind, Text):
            value = self.kind.read(node, path, notes)
            return value if value is INVALID else (value,)
        if not isinstance(node, Sequence):
            notes.add(node.place, path, f"must be a list, not a {_what(node)}; begin each entry with `- `")
            return INVALID
        values = []
        for index, item in enumerate(node.items):
            notes.places[f"{path}[{index}]"] = item.place
            values.append(self.kind.read(item, f"{path}[{index}]", notes))
        return INVALID if INVALID in values else tuple(values)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        items = self.kind.schema(definitions)
        array = {"type": "array", "items": items}
        return {"anyOf": [array, items]} if isinstance(self.kind, Text) else array


@attrs.frozen
class MapOf:
    """A mapping from names to values of one kind."""

    key: Callable[[str], str]
    kind: Kind

    @property
    def title(self) -> str:
        return f"mapping to {self.kind.title}"

    def read(self, node: Node, path: str, notes: Notes) -> Any:
        if not isinstance(node, Section):
            notes.add(node.place, path, f"must be a mapping, not a {_what(node)}; write `name: value`")
            return INVALID
        values: dict[str, Any] = {}
        for name, item in node.items.items():
            place = notes.places[f"{path}.{name}"] = node.key_places[name]
            try:
                self.key(name)
            except InvalidInput as error:
                notes.extend(placed(error, place, path))
            values[name] = self.kind.read(item, f"{path}.{name}", notes)
        return INVALID if INVALID in values.values() else values

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.kind.schema(definitions)}


WORD_MAX: Final = 64
"""A word this long at most is shown again where it belongs."""


@attrs.frozen
class SectionOf:
    """A mapping with the keys of an attrs class; unknown keys are refused."""

    cls: type[Any]

    @property
    def title(self) -> str:
        return "section"

    def read(self, node: Node, path: str, notes: Notes) -> Any:
        if not isinstance(node, Section):
            keys = list(self.kinds())
            example = ""
            if isinstance(node, Scalar) and 0 < len(node.text) <= WORD_MAX:
                example = f"; as in {path}: {{{keys[0]}: {node.text}}}"
            notes.add(node.place, path, f"must be a mapping with keys such as {', '.join(keys[:3])}{example}")
            return INVALID
        fields = self.kinds()
        for name in node.items:
            if name not in fields:
                known = f"{did_you_mean(name[:64], fields)}; there are: {', '.join(fields)}"
                notes.add(node.key_places[name], path, f"no key {shown(name)} here{known}")
        values = {}
        for name, kind in fields.items():
            below = f"{path}.{name}" if path else name
            if name in node.items:
                notes.places[below] = node.key_places[name]
                values[name] = kind.read(node.items[name], below, notes)
            elif attrs.fields_dict(self.cls)[name].default is REQUIRED:
                notes.add(node.place, path, f"key {name!r} is missing: {help_of(self.cls, name)}")
                values[name] = INVALID
        if not path:
            notes.sections = {name: value for name, value in values.items() if value is not INVALID}
        return INVALID if INVALID in values.values() else self.cls(**values)

    def kinds(self) -> dict[str, Kind]:
        return {field.name: field.metadata["kind"] for field in attrs.fields(self.cls)}

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        name = self.cls.__name__
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = section_schema(self.cls, definitions)
        return {"$ref": f"#/$defs/{name}"}


@attrs.frozen
class Options:
    """A plugin's own options: any YAML; the plugin checks them."""

    title: str = "options"

    def read(self, node: Node, path: str, notes: Notes) -> Any:
        if isinstance(node, Scalar) and node.is_plain and node.text in ("", "~", "null"):
            return {}
        if not isinstance(node, Section):
            notes.add(node.place, path, f"must be a mapping of options, not a {_what(node)}; write {{}} for none")
            return INVALID
        _note_places(node, path, notes)
        return free_value(node)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": ["object", "null"]}


def setting(kind: Kind, help: str, default: Any = REQUIRED, example: str = "") -> Any:  # noqa: A002 - the word that fits
    """A field of a schema class. Without a default the key must be given, and an example of it is shown."""
    return attrs.field(default=default, metadata={"kind": kind, "help": help, "example": example})


def help_of(cls: type[Any], name: str) -> str:
    text: str = attrs.fields_dict(cls)[name].metadata["help"]
    return text


def section_schema(cls: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a schema class."""
    properties = {}
    for field in attrs.fields(cls):
        properties[field.name] = field.metadata["kind"].schema(definitions) | {"description": field.metadata["help"]}
    return {
        "type": "object",
        "description": (cls.__doc__ or "").partition("\n")[0],
        "properties": properties,
        "required": [field.name for field in attrs.fields(cls) if field.default is REQUIRED],
        "additionalProperties": False,
    }


def choice(enum: type[Enum], none: str = "") -> Text:
    """One of the values of an enumeration. `none` stands for None, if it is given."""
    values: dict[str, Enum | None] = {member.value: member for member in enum}
    if none:
        values[none] = None
    names = list(values)

    def parse(text: str) -> Enum | None:
        if text not in values:
            raise wrong(f"{shown(text)} is not known{did_you_mean(text[:64], names)}; it can be {', '.join(names)}")
        return values[text]

    return Text(
        " or ".join(names), parse, lambda member: none if member is None else str(member.value), {"enum": names}
    )


def free_value(node: Node) -> Any:
    """Plain values for a plugin: true, false, null, decimal numbers; everything else is text (`no`, `1:30`, dates)."""
    match node:
        case Section():
            return {name: free_value(item) for name, item in node.items.items()}
        case Sequence():
            return [free_value(item) for item in node.items]
        case Scalar():
            return free_scalar(node.text) if node.is_plain else node.text


def free_scalar(text: str) -> Any:
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _note_places(node: Node, path: str, notes: Notes) -> None:
    if isinstance(node, Section):
        for name, item in node.items.items():
            notes.places[f"{path}.{name}"] = node.key_places[name]
            _note_places(item, f"{path}.{name}", notes)
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            notes.places[f"{path}[{index}]"] = item.place
            _note_places(item, f"{path}[{index}]", notes)


def _what(node: Node) -> str:
    if isinstance(node, Scalar) and not node.text:
        return "key without a value"
    return {Scalar: "single value", Sequence: "list", Section: "mapping"}[type(node)]
