"""Inputs that jobs call by a path or URL, not by a name of the catalogue: each becomes a dataset without a name. Pure.

Where the server or the file system tells the digest it is checked as any other; where not, the file must have the
version from before to after its reading (agent/reading.py). The address may say more of somebody's work than others
should know, so the catalogue does not show such datasets. They are forgotten a day after the last job that named them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from hal_core.errors import Refused
from hal_core.models.dataset import REFERENCE, DataFile, Dataset, Measured
from hal_core.models.event import DatasetAdded, Event

if TYPE_CHECKING:
    from hal_core.models.job import Owner
    from hal_core.rules.state import State

MARK: Final = "+"
"""How their names begin, and no name that people give."""
RETENTION_S: Final = 86_400.0
RENEWED_AFTER_S: Final = 3600.0
"""A day counts from the last job, give or take this: not each of ten thousand jobs is an event."""
ANONYMOUS_MAX: Final = 50_000
OWNER_MAX: Final = 10_000
"""Of one user, so that nobody takes all of it from the others."""
FILE_NAME_BYTES_MAX: Final = 255
NAMELESS: Final = "input"
"""What the file is called where its address does not end in a name."""


def anonymous(address: str, measured: Measured, owner: Owner) -> Dataset:
    """The file at that address, as it was measured. What nodes read as a path, they read with the rights of the one who
    names it, so each user has an id of their own for it; the bytes are kept once. A URL has one id for all."""
    told = f"{address}\0{measured.size_bytes}\0{measured.version}\0{measured.sha256}"
    place = measured.place or address
    reader = f"\0{owner.uid}:{owner.gid}" if place.startswith("/") else ""
    file = DataFile(_file_name(address), measured.size_bytes, measured.sha256 or _hash(told))
    return Dataset(
        _name(address),
        _hash(f"{told}{reader}")[:16],
        (file,),
        (place,),
        owner.user,
        owner.uid,
        owner.gid,
        retention_s=RETENTION_S,
        address=address,
        file_version="" if measured.sha256 else measured.version,
    )


def named(state: State, dataset: Dataset) -> list[Event]:
    """A job names it now. No event if one did lately. Raises Refused if its owner, or all, have too many others."""
    known = state.catalogue.by_id.get(dataset.id)
    if known is not None and dataset.add_time_s < known.add_time_s + RENEWED_AFTER_S:
        return []
    if known is None:
        _check_room(state, dataset.owner)
    return [DatasetAdded(dataset.add_time_s, dataset)]


def _check_room(state: State, owner: str) -> None:
    for whose, count, most in (
        (f"the jobs of {owner}", state.catalogue.anonymous[owner], OWNER_MAX),
        ("the jobs of all users", state.catalogue.anonymous_count, ANONYMOUS_MAX),
    ):
        if count >= most:
            raise Refused(
                f"{whose} named {count} files by path or URL in the last day, and at most {most} are brought to nodes; "
                "put them into one dataset with `hal data add`"
            )


def still_needed(state: State, some: Iterable[Dataset]) -> list[Dataset]:
    """Those that unfinished jobs name."""
    over = {f"{REFERENCE}{each.id}": each for each in some}
    if not over:
        return []
    named = {text for record in state.jobs.values() for text in record.spec.inputs if text in over}
    return [dataset for text, dataset in over.items() if text in named]


def shown(state: State, inputs: Sequence[str]) -> tuple[str, ...]:
    """A job's inputs as its owner called them, as far as that is still known."""
    found = ((text, _found(state, text)) for text in inputs)
    return tuple(text if dataset is None else dataset.address for text, dataset in found)


def file_names(state: State, inputs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Those of the inputs that have no name of their own, and what their files are called."""
    found = ((text, _found(state, text)) for text in inputs)
    return tuple((text, dataset.files[0].path) for text, dataset in found if dataset is not None)


def is_same_address(known: str, given: str) -> bool:
    """Whether two inputs are one address, perhaps with another file there meanwhile."""
    mark = f"{REFERENCE}{MARK}"
    return known.startswith(mark) and known.partition("@")[0] == given.partition("@")[0]


def _found(state: State, text: str) -> Dataset | None:
    return state.catalogue.find(text.removeprefix(REFERENCE)) if text.startswith(f"{REFERENCE}{MARK}") else None


def _name(address: str) -> str:
    return f"{MARK}{_hash(address)[:32]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _file_name(address: str) -> str:
    last = address.rpartition("/")[2]
    name = unquote(last) if "://" in address else last
    is_plain = name.isprintable() and "/" not in name and name not in ("", ".", "..")
    return name if is_plain and len(name.encode()) <= FILE_NAME_BYTES_MAX else NAMELESS
