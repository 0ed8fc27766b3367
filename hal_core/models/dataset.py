"""Datasets: named, immutable collections of files, told apart by name and version, each file by its digest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NewType
from urllib.parse import quote

import attrs

DatasetId = NewType("DatasetId", str)
"""`name@version`."""
PEER: Final = "hal-node://"
"""How a replica begins that is the copy in the store of a node; the node's name follows."""
REFERENCE: Final = "dataset:"
"""How an input of a job that stands in the catalogue begins: `dataset:genome`, `dataset:genome@3`."""


def references(inputs: Iterable[str]) -> tuple[str, ...]:
    """Those of a job's inputs that stand in the catalogue."""
    return tuple(text for text in inputs if text.startswith(REFERENCE))


@attrs.frozen
class DataFile:
    """One file. `path` is relative, within the dataset; `sha256` is in lower-case hexadecimal digits."""

    path: str
    size_bytes: int
    sha256: str


@attrs.frozen
class Dataset:
    """What the catalogue knows of one version. All of it may be read by every user of the cluster."""

    name: str
    version: str
    files: tuple[DataFile, ...]
    replicas: tuple[str, ...]
    """Complete copies: directories that every node sees, or URLs, below which the files are found by their paths."""
    owner: str = ""
    """Empty: it stands in the configuration."""
    uid: int | None = None
    gid: int | None = None
    """As whom the nodes read replicas that are directories; None: as themselves."""
    is_pinned: bool = False
    """Its copies on nodes stay there, whatever else wants the room."""
    add_time_s: float = 0.0
    retention_s: float | None = None
    """So long after it was added it is taken out of the catalogue; None: never."""
    comment: str = ""
    address: str = ""
    """Not empty: it has no name, and is the one file that jobs called by this path or URL (rules/anonymous.py)."""
    file_version: str = ""
    """Not empty: nobody knows the digest of that file, and its `sha256` only names it. What is read must have this
    version where it is read, and other nodes' copies are not read."""

    @property
    def id(self) -> DatasetId:
        return DatasetId(f"{self.name}@{self.version}")

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def expiry_time_s(self) -> float:
        """When it is taken out, unless it is pinned then; infinity: never."""
        return math.inf if self.retention_s is None else self.add_time_s + self.retention_s


@attrs.frozen
class Output:
    """What a job leaves as a dataset: a file or directory that all nodes see. Without a version the job's id is one."""

    name: str
    version: str
    path: str


def output_of(text: str) -> Output:
    """From `name=path` or `name@version=path`."""
    dataset, _, path = text.partition("=")
    name, _, version = dataset.partition("@")
    return Output(name, version, path)


@attrs.frozen
class MadeDataset:
    """An output that was measured. `place` is the directory below which its files are."""

    name: str
    version: str
    place: str
    files: tuple[DataFile, ...]


@attrs.frozen
class Measured:
    """What a provider says of a file before anybody reads it. `version` tells it from what may stand there later."""

    size_bytes: int
    version: str
    sha256: str = ""
    """Empty: nobody told it."""
    place: str = ""
    """Where nodes read it, if that is not the address by which it was asked for."""


def file_version(size_bytes: int, change_time_ns: int) -> str:
    """What tells a file from what may stand in its place later, on every host that sees it: not all say one inode."""
    return f"{size_bytes}-{change_time_ns}"


def address_in(dataset: Dataset, replica: str, file: DataFile) -> str:
    """Where a replica has the file; stores know files by their digests."""
    if replica.startswith(PEER):
        return f"{replica}/{file.sha256}"
    return replica if dataset.address else address_of(replica, file.path)


def address_of(replica: str, path: str) -> str:
    """Where a replica has the file with that path."""
    return f"{replica.rstrip('/')}/{quote(path) if '://' in replica else path}"


@attrs.frozen
class Brought:
    """How many bytes of an attempt's inputs came for it, and how many were here already or came for somebody else."""

    bytes_moved: int = 0
    bytes_saved: int = 0
    bytes_lent: int = 0
    """Of those moved, what came from other nodes' stores."""
    read_s: float = 0.0
    """How long the datasets' own replicas were read for the rest."""
    found_count: int = 0
    """Datasets that were here, whole."""
    missed_count: int = 0
    evicted_count: int = 0
    """Copies that went to make room."""
