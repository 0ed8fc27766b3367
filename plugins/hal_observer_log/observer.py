"""Writes events as JSON lines: {"sequence": 7, "event": "JobHeld", "time_s": ...}. One write for each batch.

The file is opened for each batch, so that a rotated or removed log is simply a new file. What may hold a secret
(script, environment, arguments, everything of a command but its program) never reaches the log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import attrs
import msgspec
import trio

from hal_core import Cluster, Event, JobSpec, Options, structure_options

SECRET_FIELDS: Final = frozenset({"script", "environment", "arguments"})
STANDARD_ERROR: Final = 2
OWN_NAMES: Final = {"sequence": "seen_sequence"}
_SPEC_NAMES: Final = tuple(name for name in attrs.fields_dict(JobSpec) if name not in SECRET_FIELDS)
_spec_values = attrgetter(*_SPEC_NAMES)
_encode = msgspec.json.Encoder().encode
_forms: dict[type, _Form] = {}


def _is_absolute(_: object, __: object, path: str | None) -> None:
    if path is not None and not path.startswith("/"):
        raise ValueError(f"expected an absolute path, not {path!r}")


@attrs.frozen
class LogOptions:
    """`path` None means standard error. The file is created readable by its owner and group only."""

    path: str | None = attrs.field(default=None, validator=_is_absolute)


class LogObserver:
    """Observer that appends JSON lines."""

    def __init__(self, options: LogOptions) -> None:
        self._path = options.path

    @classmethod
    def from_options(cls, options: Options) -> LogObserver:
        return cls(structure_options(LogOptions, options, "log"))

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        if events:
            await trio.to_thread.run_sync(self._append, lines_of(first_sequence, events))

    def _append(self, lines: bytes) -> None:
        if self._path is None:
            _write_all(STANDARD_ERROR, lines)
            return
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            _write_all(file, lines)
        finally:
            os.close(file)


def lines_of(first_sequence: int, events: Sequence[Event]) -> bytes:
    """Each event as a line of pure ASCII: nothing in a name can start a new line or move a terminal's cursor."""
    parts: list[bytes] = []
    for sequence, event in enumerate(events, first_sequence):
        form = _forms.get(type(event)) or _forms.setdefault(type(event), _Form(type(event)))
        parts += (form.head % sequence, _encode(form.public(event))[1:], b"\n")
    lines = b"".join(parts)
    return lines if _is_plain(lines) else b"".join(map(_plain, lines.splitlines()))


def _is_plain(text: bytes) -> bool:
    return text.isascii() and b"\x7f" not in text


def _plain(line: bytes) -> bytes:
    text = json.dumps(json.loads(line), ensure_ascii=True, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode() + b"\n"


class _Form:
    """How events of one kind are written: no secrets, nothing that would make one line as long as the cluster.

    Its own `sequence` (Planned: what the engine saw) must not pass for the event's number.
    """

    def __init__(self, kind: type) -> None:
        names = tuple(attrs.fields_dict(kind))
        self.head = b'{"sequence":%%d,"event":"%b",' % kind.__name__.encode()
        self._has_secrets = not _RESERVED.isdisjoint(names)
        self._values = attrgetter(*names)
        self._shortened = [(names.index(name), shorten) for name, shorten in _SHORTENED.items() if name in names]
        self._shown = _struct(kind.__name__, [OWN_NAMES.get(name, name) for name in names])

    def public(self, event: Event) -> Any:
        """What is encoded of an event."""
        if not self._has_secrets:
            return event
        values = list(self._values(event))
        for at, shorten in self._shortened:
            values[at] = shorten(values[at])
        return self._shown(*values)


def _struct(name: str, fields: Sequence[str]) -> type:
    """Encoded as an object with these fields in order: in half the time that a dictionary takes."""
    return msgspec.defstruct(name, [(field, Any) for field in fields], gc=False)


_PublicSpec = _struct("PublicSpec", _SPEC_NAMES)


def _public_spec(spec: JobSpec) -> Any:
    shown = _PublicSpec(*_spec_values(spec))
    shown.command = spec.command[:1]
    return shown


def _summary(cluster: Cluster) -> dict[str, Any]:
    partitions = [partition.name for partition in cluster.partitions]
    return {"name": cluster.name, "node_count": len(cluster.nodes), "partitions": partitions}


_SHORTENED: Final[Mapping[str, Callable[[Any], Any]]] = {"spec": _public_spec, "cluster": _summary}
_RESERVED: Final = frozenset({*_SHORTENED, *OWN_NAMES})


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
