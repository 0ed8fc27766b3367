"""Data in the configuration: the datasets that the site itself offers, and the stores on the nodes."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from hal_core.config.kinds import ListOf, Notes, SectionOf, Text, setting
from hal_core.config.topology import BANDWIDTH
from hal_core.models.dataset import DataFile, Dataset
from hal_core.parsing.datasets import parse_dataset_word, parse_digest, parse_file_path, parse_replica, problems_of
from hal_core.parsing.memory import format_memory, parse_memory
from hal_core.parsing.names import parse_absolute_path, parse_line
from hal_core.parsing.quantities import format_bandwidth, parse_limit
from hal_core.parsing.text import parse_choice, parse_count

SIZE_BYTES_MAX = 2**60
WORD = Text("name", parse_dataset_word)
SIZE = Text("bytes", lambda text: parse_count(text, 0, SIZE_BYTES_MAX), str, {"type": "integer", "minimum": 0})
LIMIT = Text(
    "bytes in a second, or 0",
    parse_limit,
    format_bandwidth,
    {"type": ["string", "integer"], "minimum": 0, "maximum": 0},
)
FLAG = Text(
    "true or false",
    lambda text: parse_choice(text, ("true", "false")) == "true",
    lambda flag: str(flag).lower(),
    {"type": "boolean"},
)


@attrs.frozen
class FileSection:
    """One file of a dataset."""

    path: str = setting(Text("path", parse_file_path), "where it is within the dataset", example="reads/1.fastq")
    size: int = setting(SIZE, "its size in bytes", example="1048576")
    sha256: str = setting(Text("digest", parse_digest), "its SHA-256, as sha256sum prints it", example="0" * 64)


@attrs.frozen
class DatasetSection:
    """A dataset that the site offers to all of its users."""

    name: str = setting(WORD, "its name; jobs say dataset:NAME", example="genome")
    files: tuple[FileSection, ...] = setting(ListOf(SectionOf(FileSection)), "its files")
    replicas: tuple[str, ...] = setting(
        ListOf(Text("path or URL", parse_replica)),
        "directories or URLs below which its files are",
        example="/data/genome",
    )
    version: str = setting(WORD, "which version of it", "1")
    pinned: bool = setting(FLAG, "copies on nodes stay there, whatever else wants the room", False)
    comment: str = setting(Text("text", parse_line, takes_empty=True), "what it is", "")


@attrs.frozen
class DataSection:
    """What there is for jobs to read."""

    datasets: tuple[DatasetSection, ...] = setting(
        ListOf(SectionOf(DatasetSection)), "datasets that the site offers", ()
    )
    store: str = setting(
        Text("absolute path", lambda text: parse_absolute_path(text) if text else "", takes_empty=True),
        "where a node keeps copies of datasets, for all users to read; empty: in the agent's own directory",
        "",
    )
    port: int = setting(
        Text("port", lambda text: parse_count(text, 0, 65_535), str, {"type": "integer", "minimum": 0}),
        "where agents give other nodes what they keep; 0: each at any port that is free",
        0,
    )
    bandwidth: int = setting(BANDWIDTH, "how fast a node is expected to get data, bytes in a second", 100 << 20)
    limit: int = setting(
        LIMIT,
        "what all transfers to a node's store together may take of its link, and all from it; 0: no bound",
        0,
        example="200M",
    )
    budget: int = setting(
        Text("memory", parse_memory, format_memory, {"type": ["string", "integer"]}),
        "how much a node keeps; what is pinned or in use never goes for something else",
        100 << 30,
    )


def datasets_of(sections: Sequence[DatasetSection], notes: Notes) -> tuple[Dataset, ...]:
    """What the sections mean; what cannot be is noted."""
    seen: set[tuple[str, str]] = set()
    for index, section in enumerate(sections):
        path = f"data.datasets[{index}]"
        if (section.name, section.version) in seen:
            notes.at(f"{path}.name", f"version {section.version} of dataset {section.name!r} is described twice")
        seen.add((section.name, section.version))
        for wrong in problems_of([file.path for file in section.files], section.replicas):
            notes.at(path, wrong)
    return tuple(_dataset(section) for section in sections)


def _dataset(section: DatasetSection) -> Dataset:
    files = tuple(DataFile(file.path, file.size, file.sha256) for file in section.files)
    return Dataset(
        section.name,
        section.version,
        files,
        section.replicas,
        is_pinned=section.pinned,
        comment=section.comment,
    )
