"""What the agent does with its store: bring what is ordered, keep it while the attempt lasts, tell what there is."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

import trio

from hal_core.agent.borrowing import Borrowing
from hal_core.agent.store import Store
from hal_core.errors import UserError, WireError
from hal_core.models.dataset import REFERENCE, Brought, DatasetId, references
from hal_core.models.effect import LaunchOrder
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from hal_core.wire.frames import FrameStream

log = logging.getLogger(__name__)


class Staging:
    """One agent's. Orders come by the connection to a daemon, and their answers go by it too."""

    def __init__(self, store: Store, borrowing: Borrowing | None = None) -> None:
        self._store = store
        self._borrowing = borrowing
        self._running: dict[AttemptKey, trio.CancelScope] = {}
        self._told: tuple[DatasetId, ...] = ()
        """What this session's daemon knows of the inventory."""

    async def begin(self, frames: FrameStream, known: set[str]) -> None:
        """A session begins. `known`: the attempts that have records, or will have; others need nothing any more."""
        for holder in self._store.holders() - known:
            self._store.release(holder)
        self._told = ()
        await self._tell_inventory(frames)

    async def bring(self, order: messages.Bring, frames: FrameStream) -> None:
        """Carry the order out and answer; also if it is stopped. Of an order that is repeated the last one answers."""
        self.stop(order.key)
        if self._borrowing is not None:
            self._borrowing.learn(order.loans)
        answer = messages.Delivery(order.key, Brought(), "it is not wanted any more")
        with trio.CancelScope() as scope:
            self._running[order.key] = scope
            answer = await self._answer(order)
            if not order.key.attempt:  # Brought ahead: nobody has it yet.
                self._store.release(str(order.key))
        if self._running.get(order.key, scope) is not scope:
            return
        self._running.pop(order.key, None)
        with suppress(WireError):  # The daemon orders again what it has no answer to.
            await self._tell_inventory(frames)
            await frames.send(answer)

    async def keep(self, order: messages.Keep, frames: FrameStream) -> None:
        for pinned, ids in ((True, order.order.pinned), (False, order.order.unpinned)):
            for each in ids:
                try:
                    self._store.pin(each, pinned)
                except OSError:  # a disk that is full; told again with the next session, and held to until then
                    log.exception("that %s is pinned could not be written", each)
        for each in order.order.dropped:
            if not self._store.drop(each):
                log.info("not dropped, because it is needed here or not here at all: %s", each)
        await self._tell_inventory(frames)

    def why_not(self, order: LaunchOrder) -> str:
        """Keeps the inputs of an attempt that is about to start. Empty, or why it must not start."""
        ids = [DatasetId(text.removeprefix(REFERENCE)) for text in references(order.spec.inputs)]
        return self._store.hold(str(order.key), ids) if ids else ""

    def stop(self, key: AttemptKey) -> None:
        """The attempt is not wanted any more: what is being brought for it alone is broken off."""
        if key in self._running:
            self._running.pop(key).cancel()

    def forget(self, keys: Iterable[AttemptKey]) -> None:
        """These are over."""
        for key in keys:
            self.stop(key)
            self._store.release(str(key))

    async def _answer(self, order: messages.Bring) -> messages.Delivery:
        try:
            return messages.Delivery(order.key, await self._store.bring(str(order.key), order.datasets))
        except UserError as error:
            return messages.Delivery(order.key, Brought(), str(error))
        except Exception as error:  # a disk that fails, a plugin that does: the job's owner is told
            log.exception("the store failed")
            return messages.Delivery(order.key, Brought(), f"the store of this node failed: {error}")

    async def _tell_inventory(self, frames: FrameStream) -> None:
        inventory = self._store.inventory
        if inventory != self._told:
            self._told = inventory
            await frames.send(messages.Inventory(inventory))
