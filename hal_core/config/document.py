"""A YAML text as a tree of nodes that know their line: no values are guessed here, a scalar stays the text it is.

Read from the events of the C parser, with bounds on size, depth, aliases and the size after aliases. Refused: tags,
duplicate keys, keys that are no plain text, several documents, `<<`. What a scalar means is decided by its field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import yaml

from hal_core.errors import InvalidInput, Problem
from hal_core.parsing.text import shown

BYTES_MAX: Final = 2**20
DEPTH_MAX: Final = 20
ALIASES_MAX: Final = 10
NODES_MAX: Final = 1_000_000
_ENCODINGS: Final = (
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"\xef\xbb\xbf", "UTF-8 with a byte order mark"),
)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@attrs.frozen
class Scalar:
    """`is_plain`: written without quotes, so that a free field may read it as a number or true or false."""

    text: str
    is_plain: bool
    place: str
    size: int = 1


@attrs.frozen
class Sequence:
    items: tuple[Node, ...]
    place: str
    size: int


@attrs.frozen
class Section:
    """A mapping. Keys are in the order of the text; `key_places` says where each stands."""

    items: Mapping[str, Node]
    key_places: Mapping[str, str]
    place: str
    size: int


Node = Scalar | Sequence | Section


def decode(data: bytes, place: str) -> str:
    """The text of a file. Raises InvalidInput unless it is UTF-8 of a bearable size."""
    if len(data) > BYTES_MAX:
        raise _refused(place, f"has more than {BYTES_MAX >> 20} MiB; a configuration is smaller: use ranges for nodes")
    for mark, encoding in _ENCODINGS:
        if data.startswith(mark):
            raise _refused(f"{place}:1:1", f"is encoded as {encoding}; save it as plain UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line, column = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        raise _refused(f"{place}:{line}:{column}", "is not UTF-8 text here; save the file as UTF-8") from None


def read_document(text: str, place: str, problems: list[Problem]) -> Section:
    """The tree of the one document in `text`. Raises InvalidInput with `place:line:column`.

    A key that stands twice is added to `problems` instead, so that the rest is looked at too; the last one is kept.
    """
    if len(text) > BYTES_MAX or len(text.encode(errors="surrogatepass")) > BYTES_MAX:
        raise _refused(place, f"has more than {BYTES_MAX >> 20} MiB; a configuration is smaller: use ranges for nodes")
    strange = _UNPRINTABLE.search(text)
    if strange is not None:
        at = strange.start()
        where = f"{place}:{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"
        raise _refused(where, f"holds the character {strange[0]!a}, which YAML does not allow; remove it")
    try:
        return _Builder(yaml.parse(text, Loader=yaml.CSafeLoader), place, problems).document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, place) from None


class _Builder:
    """Builds the tree from parser events. Depth is bounded, so that recursion is safe."""

    def __init__(self, events: Iterator[Any], place: str, problems: list[Problem]) -> None:
        self.events = events
        self.place = place
        self.anchors: dict[str, Node | None] = {}
        """None while the node is being built: an alias inside itself is refused."""
        self.alias_count = 0
        self.problems = problems

    def at(self, event: Any) -> str:
        return f"{self.place}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"

    def document(self) -> Section:
        node: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise _refused(self.at(event), "a second document begins; write one document, without ---")
                node = self.node(next(self.events), 1)
        if isinstance(node, Scalar) and not node.text:
            node = None
        if node is None:
            raise _refused(self.place, "the file is empty; it needs at least `nodes` and `partitions`")
        if not isinstance(node, Section):
            raise _refused(node.place, "the file must be a mapping; write `nodes:` and so on at the start of lines")
        return node

    def node(self, event: Any, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise _refused(self.at(event), f"is nested more than {DEPTH_MAX} deep; nothing here needs that")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if event.tag is not None:
            raise _refused(self.at(event), f"tag {shown(event.tag)} is not allowed; remove it")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node: Node = Scalar(event.value, not event.style, self.at(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.sequence(event, depth)
        else:
            node = self.section(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any) -> Node:
        self.alias_count += 1
        node = self.anchors.get(event.anchor)
        if node is None:
            raise _refused(self.at(event), f"alias *{event.anchor} refers to nothing that stands complete before it")
        if self.alias_count > ALIASES_MAX:
            raise _refused(self.at(event), f"more than {ALIASES_MAX} aliases; write the values out")
        return node

    def sequence(self, start: Any, depth: int) -> Sequence:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return Sequence(tuple(items), self.at(start), self.sum_size(items, start))

    def section(self, start: Any, depth: int) -> Section:
        items: dict[str, Node] = {}
        places: dict[str, str] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            if not isinstance(key, Scalar) or not key.text:
                raise _refused(self.at(event), "a key must be plain text; write `name: value`")
            if key.text == "<<" and key.is_plain:
                raise _refused(key.place, "merge keys (<<) are not supported; write the values out")
            value = self.node(next(self.events), depth + 1)
            if key.text in items:
                first = places[key.text].rpartition(":")[0]
                text = f"key {shown(key.text)} stands here twice (first at {first}); remove one"
                self.problems.append(Problem(key.place, text))
            items[key.text] = value
            places[key.text] = key.place
        return Section(items, places, self.at(start), self.sum_size([*items.values()], start))

    def sum_size(self, nodes: list[Node], start: Any) -> int:
        """The size with aliases written out: the sum of what aliases repeat must stay bearable."""
        size = 1 + sum(node.size for node in nodes)
        if size > NODES_MAX:
            raise _refused(self.at(start), "grows too large through its aliases; write the values out")
        return size


def _syntax_error(error: yaml.MarkedYAMLError, text: str, place: str) -> InvalidInput:
    mark = error.problem_mark or error.context_mark
    what = f"{error.context}: {error.problem}" if error.context else f"{error.problem}"
    if mark is None:
        return _refused(place, what)
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        what = "a tab indents this line; YAML allows only blanks for that"
    if "flow" in what:
        what += '; a host range within [ ] or { } needs quotes: "n[1-4]"'
    return _refused(f"{place}:{mark.line + 1}:{mark.column + 1}", f"is not YAML: {what}")


def _refused(place: str, text: str) -> InvalidInput:
    return InvalidInput([Problem(place, text)])
