"""Observers of the event log, walled off: one that raises, or is late, is switched off, and that is an event.

Each has a task and a bounded queue of its own, so that neither the kernel nor another observer ever waits for it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

import trio

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.step_watch import Charge
from hal_core.kernel.walls import passes, told
from hal_core.models.event import Event
from hal_core.models.message import ObserverFailed
from hal_core.planes import Observer, Report

logger = logging.getLogger("hal.observers")

DEADLINE_S: Final = 1.0
QUEUE_MAX: Final = 1_000
"""Batches that may wait for one observer."""

SLICE: Final = 500
"""Events that an observer is given at once: what it does with them may take the loop some milliseconds."""

STEP: Final = 0.5
"""Which part of the deadline one step of it may hold up everybody: it is switched off for good, and so given more than
others are."""

GATHER_S: Final = 0.2
"""An observer is not called again sooner: a call costs more than what it does with an event, in threads above all."""

_Batch = tuple[int, Sequence[Event]]


def sliced(first_sequence: int, events: Sequence[Event]) -> Iterator[_Batch]:
    """The same events in the same order, in batches that are not too large."""
    for at in range(0, len(events), SLICE):
        yield first_sequence + at, events[at : at + SLICE]


def _with_waiting(events: Sequence[Event], receive: trio.MemoryReceiveChannel[_Batch]) -> Sequence[Event]:
    """The events with those of the batches that wait behind them: one call for all that gathered meanwhile."""
    gathered = list(events)
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            gathered += receive.receive_nowait()[1]
    return gathered


class Observers:
    """All observers by name. `tell` never waits."""

    def __init__(
        self, observers: Mapping[str, Observer], deadline_s: float = DEADLINE_S, conducts: Conducts | None = None
    ) -> None:
        self._observers = dict(observers)
        self._deadline_s = deadline_s
        self._conducts = conducts or Conducts(time.time)
        self._queues: dict[str, trio.MemorySendChannel[_Batch]] = {}
        self._charges = {name: Charge(STEP * deadline_s) for name in observers}
        self._channels = {name: trio.open_memory_channel[_Batch](QUEUE_MAX) for name in observers}
        self._queues = {name: send for name, (send, _) in self._channels.items()}
        self._failed: dict[str, str] = {}
        self._begun_s: dict[str, float] = {}
        """Since when each that is being called now has been."""
        self._nursery: trio.Nursery | None = None
        self._report: Report | None = None

    def tell(self, first_sequence: int, events: Sequence[Event]) -> None:
        """Hand a durable batch to every observer that is still on."""
        for name, queue in list(self._queues.items()):
            if trio.current_time() > self._begun_s.get(name, math.inf) + 2 * self._deadline_s:
                self._abandon(name)
                continue
            try:
                queue.send_nowait((first_sequence, events))
            except trio.WouldBlock:
                self._failed[name] = f"{QUEUE_MAX} batches behind"
                self._queues.pop(name).close()

    def _abandon(self, name: str) -> None:
        """It was cancelled at its deadline and went on: its task cannot be ended, so it is left behind."""
        logger.error("observer %s does not let itself be cancelled; it is left behind, and told nothing more", name)
        self._queues.pop(name).close()
        if self._nursery is not None and self._report is not None:
            detail = f"took longer than {self._deadline_s:g} s, and did not let itself be cancelled"
            self._conducts.wrong("observer", name, detail)
            self._nursery.start_soon(self._report, ObserverFailed(name, detail))

    async def run(self, report: Report) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery, self._report = nursery, report
            for name in self._observers:
                nursery.start_soon(self._serve, name, report)
            await trio.sleep_forever()

    async def _serve(self, name: str, report: Report) -> None:
        detail = ""
        receive = self._channels[name][1]
        async for first_sequence, events in receive:
            again_s = trio.current_time() + GATHER_S
            detail = await self._record(name, first_sequence, _with_waiting(events, receive))
            if detail:
                break
            await trio.sleep_until(again_s)
        if detail:
            self._conducts.wrong("observer", name, detail)
        was_abandoned = name not in self._queues and name not in self._failed
        self._queues.pop(name, None)
        receive.close()
        if was_abandoned:
            return  # that was said
        await report(ObserverFailed(name, detail or self._failed.get(name, "its queue was closed")))

    async def _record(self, name: str, first_sequence: int, events: Sequence[Event]) -> str:
        """What went wrong, or the empty string. Others get a turn between two pieces."""
        for first, piece in sliced(first_sequence, events):
            self._begun_s[name] = trio.current_time()
            charge = self._charges[name]
            busy_s = charge.busy_s
            with trio.move_on_after(self._deadline_s) as scope:
                try:
                    with charge.calling():
                        await self._observers[name].record(first, piece)
                except BaseException as error:  # the wall around a plugin
                    if passes(error):
                        raise
                    logger.exception("observer %s failed and is switched off", name)
                    return told(error)
                if scope.cancel_called:  # it held up everybody, or did not let itself be cancelled, and came back
                    return f"took longer than {self._deadline_s:g} s"
            del self._begun_s[name]
            self._conducts.spent("observer", name, charge.busy_s - busy_s)
            if scope.cancelled_caught:
                return f"took longer than {self._deadline_s:g} s"
            await trio.lowlevel.checkpoint()
        return ""
