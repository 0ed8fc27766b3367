"""A node's store: files of datasets by their digests, brought once for all and checked before anybody sees them.

    objects/<sha256>        whole files; nothing comes here that does not have that digest
    partial/<sha256>        what has come of a file; the next try goes on where this one ended
    copies/<id>/<path>      a dataset as jobs see it: links to its objects, put there as one when all of them are here
    manifests/<id>          what the copy consists of, and whether it is pinned; changed when it was used last
    holds/<attempt>         the copies that an attempt needs

A kill at any moment leaves at most partial files, and copies nobody holds. What may go is for shelf.py to say. Where
bytes come from is not known here: a `Reader` gives them (reading.py).
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import attrs
import msgspec
import trio

from hal_core.agent.bound import Bound
from hal_core.agent.not_brought import not_brought
from hal_core.agent.pull import STALL_S, DiskFull, Pull, Reader, WrongBytes
from hal_core.agent.shelf import Copy, NoRoom, Shelf
from hal_core.errors import Refused, UserError
from hal_core.models.dataset import PEER, Brought, DataFile, Dataset, DatasetId, address_in

ROUNDS: Final = 3
"""Every replica is asked again so often without anything coming of it, as long as asking again may help."""
PAUSE_S: Final = 1.0
"""Before the second such round; twice as long before the third."""
MOVED_MAX: Final = 4
"""So many times the size of a file: after that it does not help that something comes."""
ROOM_PATIENCE_S: Final = 600.0
"""So long it is waited for others to need their data no more."""
ROOM_LOOK_S: Final = 10.0
COPIES: Final = "copies"
ROOMS: Final = ("objects", "partial", COPIES, "manifests", "holds")

log = logging.getLogger(__name__)


class Store:
    """One directory, one user. `bytes_per_s` bounds all transfers to here together, and all from here; 0: no bound."""

    def __init__(
        self,
        directory: Path,
        budget_bytes: int,
        reader: Reader,
        now_s: Callable[[], float] = time.time,
        bytes_per_s: float = 0.0,
    ) -> None:
        self.directory = directory
        self._reader = reader
        self._now_s = now_s
        self._bound, self.lending_bound = Bound(bytes_per_s), Bound(bytes_per_s)
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()
        """By digest and by id of a dataset, as long as anybody waits for it."""
        self._released = trio.Event()
        self.change = trio.Event()
        """Set, and made anew, when a file has come or room was made for some."""
        self.bytes_come = 0
        """Since this agent began."""
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        for name in ROOMS:
            (directory / name).mkdir(mode=0o755 if name == COPIES else 0o700, exist_ok=True)
        (directory / COPIES).chmod(0o755)
        self.shelf = Shelf(budget_bytes)
        self._take_stock()

    # -- what is here --------------------------------------------------------------------------------------------------

    @property
    def inventory(self) -> tuple[DatasetId, ...]:
        """The copies that are whole."""
        return tuple(sorted(each for each, copy in self.shelf.copies.items() if copy.is_whole))

    def path_of(self, dataset_id: DatasetId) -> Path:
        """Where jobs find the files of a copy."""
        return self.directory / COPIES / dataset_id

    def holders(self) -> set[str]:
        """The attempts that need something."""
        return set().union(*self.shelf.holders.values())

    def hold(self, holder: str, ids: Sequence[DatasetId]) -> str:
        """The attempt is about to start: keep these. Empty, or which of them is not here; then it must not start."""
        for each in ids:
            copy = self.shelf.copies.get(each)
            if copy is None or not copy.is_whole:
                return f"its input {each} is not on this node any more"
        if not all(holder in self.shelf.holders.get(each, ()) for each in ids):  # as a rule they were brought for it
            try:
                self._write_hold(holder, ids)
            except OSError as error:
                return f"the store of this node cannot note that it needs them: {error}"
            self.shelf.hold(holder, ids)
        return ""

    def release(self, holder: str) -> None:
        """The attempt is over."""
        if self.shelf.release(holder):
            (self.directory / "holds" / holder).unlink(missing_ok=True)
            self._note_release()

    def _note_release(self) -> None:
        self._released.set()
        self._released = trio.Event()

    def _note_change(self) -> None:
        self.change.set()
        self.change = trio.Event()

    def pin(self, dataset_id: DatasetId, is_pinned: bool) -> None:
        """Nothing if there is no such copy."""
        copy = self.shelf.copies.get(dataset_id)
        if copy is not None and copy.is_pinned != is_pinned:
            copy.is_pinned = is_pinned
            self._write_manifest(dataset_id, copy)

    def drop(self, dataset_id: DatasetId) -> bool:
        """Remove a copy that nobody needs. False: somebody does, or there is none."""
        if dataset_id not in self.shelf.copies or not self.shelf.may_go(dataset_id):
            return False
        del self.shelf.copies[dataset_id]
        self._remove([dataset_id])
        return True

    # -- lending -------------------------------------------------------------------------------------------------------

    def lendable(self, dataset_id: DatasetId, digest: str) -> Path | None:
        """The file of that dataset, if it is here and whole. Raises Refused if the dataset has no such file."""
        copy = self.shelf.copies.get(dataset_id)
        if copy is None:
            return None
        if digest not in copy.sizes:
            raise Refused(f"{dataset_id} has no file with digest {digest[:64]!r}")
        path = self._object(digest)
        return path if path.exists() else None

    @contextmanager
    def lent(self, dataset_id: DatasetId) -> Iterator[None]:
        """The copy stays meanwhile."""
        self.shelf.loans[dataset_id] += 1
        try:
            yield
        finally:
            self.shelf.loans[dataset_id] -= 1
            self.shelf.loans += Counter()  # forgets those that are at 0
            self._note_release()

    # -- bringing ------------------------------------------------------------------------------------------------------

    async def bring(self, holder: str, datasets: Sequence[Dataset]) -> Brought:
        """Make the datasets readable here and keep them for the attempt, until `release`.

        Raises UserError with what went wrong, replica by replica; then the attempt holds nothing.
        """
        tally = _Tally(found_count=sum(each.id in self.inventory for each in datasets))
        try:
            await self._make_room(holder, datasets, tally)
            for dataset in datasets:
                await self._bring(dataset, tally)
        except BaseException:
            self.release(holder)
            raise
        sizes = {file.sha256: file.size_bytes for dataset in datasets for file in dataset.files}
        missed_count = len(datasets) - tally.found_count
        saved = max(0, sum(sizes.values()) - tally.moved)
        counts = tally.found_count, missed_count, tally.evicted_count
        return Brought(tally.moved, saved, tally.lent, tally.read_s, *counts)

    async def _make_room(self, holder: str, datasets: Sequence[Dataset], tally: _Tally) -> None:
        """All that an attempt needs at once: two that each wait for what the other has would wait for ever."""
        with trio.move_on_after(ROOM_PATIENCE_S):
            while True:
                released = self._released
                try:
                    self._admit(holder, datasets, tally)
                except NoRoom:
                    with trio.move_on_after(ROOM_LOOK_S):  # others may have freed the disk
                        await released.wait()
                else:
                    return
        self._admit(holder, datasets, tally)

    def _admit(self, holder: str, datasets: Sequence[Dataset], tally: _Tally) -> None:
        going = self.shelf.admit(datasets, holder, self._now_s(), shutil.disk_usage(self.directory).free)
        self._remove(going)
        tally.evicted_count += len(going)
        self._write_hold(holder, [each.id for each in datasets])
        for each in datasets:
            self._write_manifest(each.id, self.shelf.copies[each.id], each.files)
        self._note_change()

    async def _bring(self, dataset: Dataset, tally: _Tally) -> None:
        copy = self.shelf.copies[dataset.id]
        for file in dataset.files:
            async with self._lock(file.sha256):
                if not self._has(file):
                    await self._fetch(dataset, file, tally)
        async with self._lock(dataset.id):
            if not copy.is_whole:
                await trio.to_thread.run_sync(self._publish, dataset)
                copy.is_whole = True

    def _lock(self, name: str) -> trio.Lock:
        """For what must be done once: who has it does it, the others wait and find it done."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = trio.Lock()
        return lock

    async def _fetch(self, dataset: Dataset, file: DataFile, tally: _Tally) -> None:
        """From the first replica that has it. One that is not worth asking again is left out of the next round."""
        replicas = list(dataset.replicas)
        problems: dict[str, str] = {}
        most = tally.moved + MOVED_MAX * file.size_bytes
        fruitless = 0
        while replicas and fruitless < ROUNDS:
            if problems:
                await trio.sleep(PAUSE_S * max(1, fruitless))
            before = tally.moved
            for replica in tuple(replicas):
                address = address_in(dataset, replica, file)
                pull = Pull(self._partial(file), file, self._count, self._bound)
                begin_s = trio.current_time()
                try:
                    await pull.run(self._reader, dataset, address)
                    await trio.to_thread.run_sync(self._keep, file)
                    self._note_change()
                except DiskFull:
                    raise
                except (UserError, WrongBytes) as error:
                    problems[address] = str(error)
                    log.info("not from %s: %s", address, error)
                    replicas.remove(replica)
                except (OSError, trio.TooSlowError) as error:
                    problems[address] = str(error) or f"it gave nothing for {STALL_S:g} s"
                    log.info("not from %s now: %s", address, problems[address])
                else:
                    log.info("%d bytes came from %s", pull.bytes_moved, address)
                    return
                finally:
                    tally.add(pull.bytes_moved, trio.current_time() - begin_s, replica.startswith(PEER))
            has_come = before < tally.moved <= most
            fruitless = 0 if has_come else fruitless + 1
        raise Refused(not_brought(dataset, file, problems))

    def _count(self, byte_count: int) -> None:
        self.bytes_come += byte_count

    # -- on disk -------------------------------------------------------------------------------------------------------

    def _object(self, digest: str) -> Path:
        return self.directory / "objects" / digest

    def _partial(self, file: DataFile) -> Path:
        return self.directory / "partial" / file.sha256

    def _has(self, file: DataFile) -> bool:
        try:
            return self._object(file.sha256).stat().st_size == file.size_bytes
        except FileNotFoundError:
            return False

    def _keep(self, file: DataFile) -> None:
        """What has come is all of it and has its digest: now it may be seen."""
        partial = self._partial(file)
        partial.chmod(0o444)
        partial.rename(self._object(file.sha256))
        _sync(self.directory / "objects")

    def _publish(self, dataset: Dataset) -> None:
        """All files are here: show them as one."""
        new, final = self.directory / COPIES / f".{dataset.id}", self.path_of(dataset.id)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        new.mkdir(mode=0o755)
        for file in dataset.files:
            path = new / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(self._object(file.sha256), path)
        for each in (new, *(each for each in new.rglob("*") if each.is_dir())):
            each.chmod(0o755)
        new.rename(final)
        _sync(final.parent)

    def _remove(self, ids: Iterable[DatasetId]) -> None:
        """Copies that the shelf does not have any more, and the files that were only theirs."""
        for each in ids:
            path = self.path_of(each)
            if path.exists():
                hidden = path.with_name(f".{each}")
                shutil.rmtree(hidden, ignore_errors=True)
                path.rename(hidden)
                shutil.rmtree(hidden)
            (self.directory / "manifests" / each).unlink(missing_ok=True)
        for room in ("objects", "partial"):
            for name in self.shelf.orphans(os.listdir(self.directory / room)):
                (self.directory / room / name).unlink(missing_ok=True)

    def _write_hold(self, holder: str, ids: Sequence[DatasetId]) -> None:
        _replace(self.directory / "holds" / holder, msgspec.json.encode(ids))

    def _write_manifest(self, dataset_id: DatasetId, copy: Copy, files: Sequence[DataFile] | None = None) -> None:
        path = self.directory / "manifests" / dataset_id
        known = _read_manifest(path) if files is None else _Manifest(tuple(files), False)
        _replace(path, msgspec.json.encode(attrs.evolve(known, is_pinned=copy.is_pinned)))
        os.utime(path, (copy.use_time_s, copy.use_time_s))

    def _take_stock(self) -> None:
        """After a restart: what is on disk is what there is. Half a copy is none; its files stay for the next try."""
        for room in ("manifests", "holds"):
            for path in (self.directory / room).glob(".*"):
                path.unlink()
        for path in sorted((self.directory / "manifests").iterdir()):
            try:
                manifest = _read_manifest(path)
            except (ValueError, OSError):  # written by half, or not by us
                path.unlink(missing_ok=True)
                continue
            dataset_id = DatasetId(path.name)
            sizes = {file.sha256: file.size_bytes for file in manifest.files}
            is_whole = self.path_of(dataset_id).is_dir() and all(map(self._has, manifest.files))
            self.shelf.copies[dataset_id] = Copy(sizes, path.stat().st_mtime, manifest.is_pinned, is_whole)
        for path in (self.directory / "holds").iterdir():
            ids = [each for each in _read_hold(path) if each in self.shelf.copies]
            self.shelf.hold(path.name, ids)
            if not ids:
                path.unlink(missing_ok=True)
        for path in (self.directory / COPIES).iterdir():
            if path.name not in self.shelf.copies:
                shutil.rmtree(path)
        self._remove(())


@attrs.define
class _Tally:
    """What was done for one order."""

    found_count: int = 0
    evicted_count: int = 0
    moved: int = 0
    lent: int = 0
    """Of `moved`, from other nodes."""
    read_s: float = 0.0
    """For the others."""

    def add(self, byte_count: int, passed_s: float, is_lent: bool) -> None:
        self.moved += byte_count
        if is_lent:
            self.lent += byte_count
        elif byte_count:
            self.read_s += passed_s


@attrs.frozen
class _Manifest:
    files: tuple[DataFile, ...]
    is_pinned: bool


def _read_manifest(path: Path) -> _Manifest:
    return msgspec.json.decode(path.read_bytes(), type=_Manifest)


def _read_hold(path: Path) -> list[DatasetId]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[DatasetId])
    except ValueError:
        return []


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
