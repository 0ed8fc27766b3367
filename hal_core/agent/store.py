"""A node's store: datasets brought once for all, checked before anybody sees them, and kept as long as there is room.

What lies where is known to store_files.py, and what may go to shelf.py. Where bytes come from is not known here: a
`Reader` gives them (reading.py).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import attrs
import trio

from hal_core.agent.bound import Bound
from hal_core.agent.not_brought import not_brought
from hal_core.agent.pull import STALL_S, DiskFull, Pull, Reader, WrongBytes
from hal_core.agent.shelf import NoRoom, Shelf
from hal_core.agent.store_files import StoreFiles
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
        self._files = StoreFiles(directory)
        self.shelf = Shelf(budget_bytes)
        self._take_stock()

    # -- what is here --------------------------------------------------------------------------------------------------

    @property
    def inventory(self) -> tuple[DatasetId, ...]:
        """The copies that are whole."""
        return tuple(sorted(each for each, copy in self.shelf.copies.items() if copy.is_whole))

    def path_of(self, dataset_id: DatasetId) -> Path:
        """Where jobs find the files of a copy."""
        return self._files.copy(dataset_id)

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
                self._files.note_hold(holder, ids)
            except OSError as error:
                return f"the store of this node cannot note that it needs them: {error}"
            self.shelf.hold(holder, ids)
        return ""

    def release(self, holder: str) -> None:
        """The attempt is over."""
        if self.shelf.release(holder):
            self._files.forget_hold(holder)
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
            self._files.note_copy(dataset_id, copy)

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
        path = self._files.object(digest)
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
        going = self.shelf.admit(datasets, holder, self._now_s(), self._files.free_bytes)
        self._remove(going)
        tally.evicted_count += len(going)
        self._files.note_hold(holder, [each.id for each in datasets])
        for each in datasets:
            self._files.note_copy(each.id, self.shelf.copies[each.id], each.files)
        self._note_change()

    async def _bring(self, dataset: Dataset, tally: _Tally) -> None:
        copy = self.shelf.copies[dataset.id]
        for file in dataset.files:
            async with self._lock(file.sha256):
                if not self._files.has(file):
                    await self._fetch(dataset, file, tally)
        async with self._lock(dataset.id):
            if not copy.is_whole:
                await trio.to_thread.run_sync(self._files.publish, dataset)
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
                pull = Pull(self._files.partial(file), file, self._count, self._bound)
                begin_s = trio.current_time()
                try:
                    await pull.run(self._reader, dataset, address)
                    await trio.to_thread.run_sync(self._files.keep, file)
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

    def _remove(self, ids: Iterable[DatasetId]) -> None:
        """Copies that the shelf does not have any more, and the files that were only theirs."""
        for each in ids:
            self._files.remove_copy(each)
        self._files.remove_but(self.shelf.needed())

    def _take_stock(self) -> None:
        """After a restart."""
        self.shelf.copies.update(self._files.find_copies())
        for holder, ids in self._files.holds():
            here = [each for each in ids if each in self.shelf.copies]
            self.shelf.hold(holder, here)
            if not here:
                self._files.forget_hold(holder)
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
