"""The schema as others need it: JSON Schema, a commented YAML with all defaults, and rows for the reference page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs

from hal_core.config.kinds import REQUIRED, Kind, ListOf, SectionOf, Text, section_schema
from hal_core.config.schema import ConfigurationFile


class SchemaRow(NamedTuple):
    """One key: `nodes[].cpus`, its kind, its default as it would be written (empty: must be given), and its help."""

    path: str
    type: str
    default: str
    help: str


def describe_schema() -> tuple[SchemaRow, ...]:
    """Every key in the order of the schema classes."""
    return tuple(_rows(ConfigurationFile, ""))


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the configuration file, for editors and checks before deployment."""
    definitions: dict[str, Any] = {}
    root = section_schema(ConfigurationFile, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "HAL configuration",
        **root,
        "$defs": definitions,
    }


def default_yaml() -> str:
    """A file that loads: every key with its help and default, or an example where it must be given."""
    head = "# HAL's configuration: every key with its default. Units are written with the value: 5m, 256G."
    lines = [head]
    for field in attrs.fields(ConfigurationFile):
        lines += ["", *_yaml_lines(field, "")]
    return "\n".join(lines) + "\n"


def _rows(cls: type[Any], lead: str) -> Iterator[SchemaRow]:
    for field in attrs.fields(cls):
        kind: Kind = field.metadata["kind"]
        below = _section_below(kind)
        default = "" if field.default is REQUIRED or below else _inline(kind, field.default)
        yield SchemaRow(f"{lead}{field.name}", kind.title, default, field.metadata["help"])
        if below is not None:
            yield from _rows(below, f"{lead}{field.name}{'[]' if isinstance(kind, ListOf) else ''}.")


def _yaml_lines(field: Any, indent: str) -> Iterator[str]:
    """A comment and the key; below it the keys of a section, or of one entry of a list of sections."""
    kind: Kind = field.metadata["kind"]
    below = _section_below(kind)
    yield f"{indent}# {field.metadata['help']}" + (" (must be given)" if field.default is REQUIRED else "")
    if below is None:
        value = field.metadata["example"] if field.default is REQUIRED else _inline(kind, field.default)
        yield f"{indent}{field.name}: {value}"
        return
    is_list = isinstance(kind, ListOf)
    is_example = is_list and field.default is not REQUIRED
    yield f"{indent}{field.name}:{' [] # for example' if is_example else ''}"
    for index, each in enumerate(attrs.fields(below)):
        for line in _yaml_lines(each, f"{indent}{'    ' if is_list else '  '}"):
            is_first = is_list and index == 0 and not line.lstrip().startswith("#")
            text = f"{indent}  - {line.lstrip()}" if is_first else line
            yield f"# {text}" if is_example else text


def _section_below(kind: Kind) -> type[Any] | None:
    inner = kind.kind if isinstance(kind, ListOf) else kind
    return inner.cls if isinstance(inner, SectionOf) else None


def _inline(kind: Kind, value: Any) -> str:
    """A default as YAML on one line."""
    if isinstance(kind, Text):
        return kind.show(value) or '""'
    if isinstance(kind, ListOf):
        return f"[{', '.join(_inline(kind.kind, each) for each in value)}]"
    return "{" + ", ".join(f"{name}: {{}}" for name in value) + "}"
