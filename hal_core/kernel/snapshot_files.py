"""Snapshot files: the state after one event, so that recovery need not fold the whole journal.

A snapshot is only a shortcut: one that is damaged, or does not belong to this journal, is passed over with a warning
and never trusted. What is in it is the state's own business.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from hal_core.failpoints import reach
from hal_core.kernel.journal_files import FileSystem

KEPT_COUNT: Final = 2
"""The newest, and one to fall back to."""

_NAME: Final = re.compile(r"snapshot-([0-9]{1,19})\.hal")
_MAGIC: Final = b"HAL snap"
_FORMAT_VERSION: Final = 1
_HEADER: Final = struct.Struct(">8sIQ32sQ32s")
_SHA256_BYTES: Final = 32


@attrs.frozen
class Snapshot:
    """The encoded state after the event `sequence`, whose chain hash is `hash`."""

    sequence: int
    hash: bytes
    content: bytes


def write_snapshot(directory: Path, file_system: FileSystem, snapshot: Snapshot) -> None:
    """Write it durably, then remove all but the newest two."""
    header = _HEADER.pack(
        *(_MAGIC, _FORMAT_VERSION, snapshot.sequence, snapshot.hash),
        *(len(snapshot.content), hashlib.sha256(snapshot.content).digest()),
    )
    content = b"".join((header, hashlib.sha256(header).digest(), snapshot.content))
    file_system.replace(directory / _file_name(snapshot.sequence), content)
    reach("snapshot.written")
    for sequence in _sequences(directory, file_system)[KEPT_COUNT:]:
        file_system.remove(directory / _file_name(sequence))


def read_snapshots(directory: Path, file_system: FileSystem) -> Iterator[Snapshot | str]:
    """The snapshots there are, newest first; for one that cannot be used, a sentence saying why."""
    for sequence in _sequences(directory, file_system):
        path = directory / _file_name(sequence)
        try:
            content = file_system.read(path)
        except OSError as error:
            yield f"{path.name} cannot be read ({error.strerror}), so it was passed over"
            continue
        if content is not None:
            yield _parse(path.name, sequence, content)


def _parse(name: str, sequence: int, content: bytes) -> Snapshot | str:
    header, header_sum = content[: _HEADER.size], content[_HEADER.size : _HEADER.size + _SHA256_BYTES]
    if len(header) < _HEADER.size or hashlib.sha256(header).digest() != header_sum:
        return f"{name} is damaged in its header, so it was passed over"
    magic, version, found, chain_hash, length, content_sum = _HEADER.unpack(header)
    if (magic, version) != (_MAGIC, _FORMAT_VERSION):
        return f"{name} has format {version}, this HAL reads format {_FORMAT_VERSION}, so it was passed over"
    body = content[_HEADER.size + _SHA256_BYTES :]
    if found != sequence or len(body) != length or hashlib.sha256(body).digest() != content_sum:
        return f"{name} is damaged, so it was passed over"
    return Snapshot(sequence, chain_hash, body)


def _file_name(sequence: int) -> str:
    return f"snapshot-{sequence}.hal"


def newest_sequence(directory: Path, file_system: FileSystem) -> int:
    """The event up to which the newest snapshot goes, by its name alone; 0 if there is none."""
    return max(_sequences(directory, file_system), default=0)


def _sequences(directory: Path, file_system: FileSystem) -> list[int]:
    """Newest first."""
    matches = [_NAME.fullmatch(name) for name in file_system.names(directory)]
    return sorted((int(match[1]) for match in matches if match), reverse=True)
