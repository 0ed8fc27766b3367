"""A node's store on disk: files of datasets by their digests, the copies made of them, and who needs which.

    objects/<sha256>        whole files; nothing comes here that does not have that digest
    partial/<sha256>        what has come of a file; the next try goes on where this one ended
    copies/<id>/<path>      a dataset as jobs see it: links to its objects, put there as one when all of them are here
    manifests/<id>          what the copy consists of, and whether it is pinned; changed when it was used last
    holds/<attempt>         the copies that an attempt needs

A kill at any moment leaves at most partial files, and copies nobody holds. Nothing is decided here: what comes and what
may go is for store.py and shelf.py to say.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import msgspec

from hal_core.agent.shelf import Copy
from hal_core.models.dataset import DataFile, Dataset, DatasetId

COPIES: Final = "copies"
ROOMS: Final = ("objects", "partial", COPIES, "manifests", "holds")


class StoreFiles:
    """One directory, made if it is not there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        for name in ROOMS:
            (directory / name).mkdir(mode=0o755 if name == COPIES else 0o700, exist_ok=True)
        (directory / COPIES).chmod(0o755)
        for room in ("manifests", "holds"):
            for half in (directory / room).glob(".*"):
                half.unlink()

    @property
    def free_bytes(self) -> int:
        """Of the disk."""
        return shutil.disk_usage(self._directory).free

    # -- files ---------------------------------------------------------------------------------------------------------

    def object(self, digest: str) -> Path:
        return self._directory / "objects" / digest

    def partial(self, file: DataFile) -> Path:
        return self._directory / "partial" / file.sha256

    def has(self, file: DataFile) -> bool:
        """All of it."""
        try:
            return self.object(file.sha256).stat().st_size == file.size_bytes
        except FileNotFoundError:
            return False

    def keep(self, file: DataFile) -> None:
        """What has come is all of it and has its digest: now it may be seen."""
        partial = self.partial(file)
        partial.chmod(0o444)
        partial.rename(self.object(file.sha256))
        _sync(self._directory / "objects")

    def remove_but(self, needed: Container[str]) -> None:
        """Files with other digests, and what has come of such."""
        for room in ("objects", "partial"):
            for name in os.listdir(self._directory / room):
                if name not in needed:
                    (self._directory / room / name).unlink(missing_ok=True)

    # -- copies --------------------------------------------------------------------------------------------------------

    def copy(self, dataset_id: DatasetId) -> Path:
        """Where jobs find its files."""
        return self._directory / COPIES / dataset_id

    def publish(self, dataset: Dataset) -> None:
        """All files are here: show them as one."""
        new, final = self._directory / COPIES / f".{dataset.id}", self.copy(dataset.id)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        new.mkdir(mode=0o755)
        for file in dataset.files:
            path = new / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.object(file.sha256), path)
        for each in (new, *(each for each in new.rglob("*") if each.is_dir())):
            each.chmod(0o755)
        new.rename(final)
        _sync(final.parent)

    def remove_copy(self, dataset_id: DatasetId) -> None:
        """Its files stay, for others may have them in common with it."""
        path = self.copy(dataset_id)
        if path.exists():
            hidden = path.with_name(f".{dataset_id}")
            shutil.rmtree(hidden, ignore_errors=True)
            path.rename(hidden)
            shutil.rmtree(hidden)
        (self._directory / "manifests" / dataset_id).unlink(missing_ok=True)

    def note_copy(self, dataset_id: DatasetId, copy: Copy, files: Sequence[DataFile] | None = None) -> None:
        """Keep what is known of it; `files` if they are not known yet."""
        path = self._directory / "manifests" / dataset_id
        known = _read_manifest(path) if files is None else _Manifest(tuple(files), False)
        _replace(path, msgspec.json.encode(attrs.evolve(known, is_pinned=copy.is_pinned)))
        os.utime(path, (copy.use_time_s, copy.use_time_s))

    def find_copies(self) -> dict[DatasetId, Copy]:
        """After a restart: what is on disk is what there is. Half a copy is none; its files stay for the next try."""
        found: dict[DatasetId, Copy] = {}
        for path in sorted((self._directory / "manifests").iterdir()):
            try:
                manifest = _read_manifest(path)
            except (ValueError, OSError):  # written by half, or not by us
                path.unlink(missing_ok=True)
                continue
            dataset_id = DatasetId(path.name)
            sizes = {file.sha256: file.size_bytes for file in manifest.files}
            is_whole = self.copy(dataset_id).is_dir() and all(map(self.has, manifest.files))
            found[dataset_id] = Copy(sizes, path.stat().st_mtime, manifest.is_pinned, is_whole)
        for path in (self._directory / COPIES).iterdir():
            if path.name not in found:
                shutil.rmtree(path)
        return found

    # -- holds ---------------------------------------------------------------------------------------------------------

    def note_hold(self, holder: str, ids: Sequence[DatasetId]) -> None:
        """The attempt needs these copies."""
        _replace(self._directory / "holds" / holder, msgspec.json.encode(ids))

    def forget_hold(self, holder: str) -> None:
        (self._directory / "holds" / holder).unlink(missing_ok=True)

    def holds(self) -> Iterator[tuple[str, list[DatasetId]]]:
        """(attempt, what it needs)."""
        for path in sorted((self._directory / "holds").iterdir()):
            try:
                ids = msgspec.json.decode(path.read_bytes(), type=list[DatasetId])
            except ValueError:
                ids = []
            yield path.name, ids


@attrs.frozen
class _Manifest:
    files: tuple[DataFile, ...]
    is_pinned: bool


def _read_manifest(path: Path) -> _Manifest:
    return msgspec.json.decode(path.read_bytes(), type=_Manifest)


def _replace(path: Path, content: bytes) -> None:
    """All of it or nothing, also if the machine stops."""
    new = path.with_name(f".{path.name}.new")
    with open(new, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    new.rename(path)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
