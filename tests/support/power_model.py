"""A disk that loses power: what is on it after a cut, if only what was synced must be.

Files have contents and directories have names, each with changes that are not synced yet. A cut keeps none of those
changes, or all, or a first part, or any of them, or one of them in part (in sectors), independently for each file and
each directory. Nothing is as unfriendly as that in practice; whoever survives it survives what is.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

from tests.support.syscalls import Call, Create, Rename, Sync, Truncate, Unlink, Write

SECTOR_BYTES = 512

T = TypeVar("T")


@attrs.define
class File:
    """`durable` is what was synced; `pending` what was done since, in order."""

    durable: bytes = b""
    pending: list[Write | Truncate] = attrs.Factory(list)
    size: int = 0

    def after_cut(self, dice: random.Random) -> bytes:
        chosen = some_of(self.pending, dice)
        if chosen and dice.random() < 0.3 and isinstance(last := chosen[-1], Write):
            chosen[-1] = attrs.evolve(last, content=_torn(last.content, dice))
        return _content(self.durable, chosen)


class PowerModel:
    """Follows the calls below `root`; `cut` tells what a disk may hold if power fails now."""

    def __init__(self, root: str, contents: Mapping[str, bytes] | None = None) -> None:
        self._root = root.rstrip("/") + "/"
        self._files: dict[str, File] = {}
        """As the running program sees them."""
        for path, content in (contents or {}).items():
            self._files[path] = File(content, size=len(content))
        self._names = dict(self._files)
        """As the disk certainly has them."""
        self._changes: dict[str, list[Create | Rename | Unlink]] = {}
        """Unsynced changes of names, by directory."""
        self._created: dict[int, File] = {}

    def follow(self, call: Call) -> None:
        path = call.source if isinstance(call, Rename) else call.path
        if not path.startswith(self._root):
            if isinstance(call, Sync) and path + "/" == self._root:
                self._sync_names(path)
            return
        match call:
            case Create(is_directory=False) if path not in self._files:
                self._files[path] = File()
                self._change(path, call, self._files[path])
            case Rename():
                moved = self._files.pop(call.source)
                self._files[call.target] = moved
                self._change(path, call, moved)
            case Unlink() if path in self._files:
                self._change(path, call, self._files.pop(path))
            case Sync() if path in self._files:
                file = self._files[path]
                file.durable, file.pending = _content(file.durable, file.pending), []
            case Sync():
                self._sync_names(path)
            case Write() if path in self._files:
                file = self._files[path]
                offset = file.size if call.offset is None else call.offset
                file.pending.append(attrs.evolve(call, offset=offset))
                file.size = max(file.size, offset + len(call.content))
            case Truncate() if path in self._files:
                self._files[path].pending.append(call)
                self._files[path].size = call.size

    def now(self) -> dict[str, bytes]:
        """What the running program sees."""
        return {path: _content(file.durable, file.pending) for path, file in self._files.items()}

    def certain(self) -> dict[str, bytes]:
        """What is on the disk whatever happens."""
        return {path: file.durable for path, file in self._names.items()}

    def cut(self, dice: random.Random) -> dict[str, bytes]:
        names = dict(self._names)
        for directory in sorted(self._changes):
            for change in some_of(self._changes[directory], dice):
                self._rename(names, change)
        contents: dict[int, bytes] = {}
        for path in sorted(names):
            file = names[path]
            contents.setdefault(id(file), file.after_cut(dice))
        return {path: contents[id(file)] for path, file in names.items()}

    def _change(self, path: str, call: Create | Rename | Unlink, file: File) -> None:
        self._created[id(call)] = file
        self._changes.setdefault(os.path.dirname(path), []).append(call)

    def _sync_names(self, directory: str) -> None:
        for change in self._changes.pop(directory, []):
            self._rename(self._names, change)

    def _rename(self, names: dict[str, File], change: Create | Rename | Unlink) -> None:
        if not isinstance(change, Create):
            names.pop(change.source if isinstance(change, Rename) else change.path, None)
        if not isinstance(change, Unlink):
            names[change.target if isinstance(change, Rename) else change.path] = self._created[id(change)]


def some_of(items: list[T], dice: random.Random) -> list[T]:
    """None, all, the first ones, or any of them, in their order."""
    way = dice.randrange(4)
    if way == 0:
        return []
    if way == 1:
        return list(items)
    if way == 2:
        return items[: dice.randint(0, len(items))]
    return [item for item in items if dice.random() < 0.5]


def _content(content: bytes, changes: Iterable[Write | Truncate]) -> bytes:
    result = bytearray(content)
    for change in changes:
        if isinstance(change, Truncate):
            del result[change.size :]
            result.extend(bytes(change.size - len(result)))
        else:
            assert change.offset is not None
            result.extend(bytes(max(0, change.offset - len(result))))
            result[change.offset : change.offset + len(change.content)] = change.content
    return bytes(result)


def _torn(content: bytes, dice: random.Random) -> bytes:
    """Its first sectors."""
    return content[: dice.randrange(len(content) // SECTOR_BYTES + 1) * SECTOR_BYTES]
