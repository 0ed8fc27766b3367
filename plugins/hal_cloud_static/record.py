"""What the static cloud must not forget: which machines are in use, by which process, and which tokens were served.

One small JSON file, replaced as a whole and synced, so that a crash leaves the old or the new one, never half of one.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import msgspec

from hal_core import NodeName, PluginError

TOKENS_KEPT = 1000


@attrs.define
class Machine:
    """A machine in use. `pid` with `start_ticks` names its process for certain; pid 0: it was about to be started."""

    native_id: str
    offer: str
    node: NodeName
    token: str
    pid: int = 0
    start_ticks: int = 0


@attrs.define
class Record:
    """The whole state. `serial` never repeats, so that a native id means one use of a machine."""

    serial: int = 0
    machines: list[Machine] = attrs.field(factory=list)
    tokens: list[str] = attrs.field(factory=list)

    def remember(self, token: str) -> None:
        self.tokens.append(token)
        del self.tokens[:-TOKENS_KEPT]


def read_record(path: Path) -> Record:
    """The record, or an empty one if there never was one. A damaged one is an error: machines may be running."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Record()
    try:
        return msgspec.json.decode(data, type=Record)
    except msgspec.MsgspecError as error:
        raise PluginError(f"{path} is damaged ({error}): see which machines run, then remove it") from error


def write_record(path: Path, record: Record) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
