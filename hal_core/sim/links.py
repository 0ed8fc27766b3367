"""Links that transfers share: what goes through one at the same time gets equal parts of it, as TCP flows do.

A fluid model: each transfer has a rate, which changes only when another begins or is over that shares a link with it,
directly or through others. Rates are max-min fair by progressive filling (Bertsekas and Gallager, Data Networks, 1992,
6.5.2): the link that has least for each is filled first. Events only; nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heappop, heappush


class Way:
    """One direction of one link."""

    __slots__ = ("bytes_per_s", "transfers")

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.transfers: dict[Transfer, None] = {}

    @property
    def share(self) -> float:
        """What one more would get in a second if this was the narrowest of its ways."""
        return self.bytes_per_s / (len(self.transfers) + 1)


class Transfer:
    """So many bytes over some ways. Of no ways: at a rate of its own, whatever else goes on."""

    __slots__ = ("_end_s", "_left", "_since_s", "begin_s", "has_come", "rate", "source", "ways")

    def __init__(self, size: float, ways: tuple[Way, ...], rate: float = 0.0, source: Transfer | None = None) -> None:
        """`rate`: if there are no ways. `source`: what brings, or brought, the bytes to where they are read; before
        that is over, this one is not."""
        self.ways = ways
        self.rate = 0.0 if ways else rate
        self.source = source
        self.has_come = False
        self.begin_s = math.nan
        self._left = size
        self._since_s = self._end_s = math.nan

    @property
    def end_s(self) -> float:
        """When it will be, or was, over, if its rate and those of its sources stay as they are."""
        end_s, at = self._end_s, self.source
        while not self.has_come and at is not None and not at.has_come:
            end_s, at = max(end_s, at._end_s), at.source
        return end_s

    def left_s(self, now_s: float) -> float:
        return 0.0 if self.has_come else max(0.0, self.end_s - now_s)

    def flow(self, rate: float, now_s: float) -> None:
        """From now on at this rate."""
        if self._since_s == self._since_s:
            self._left = max(0.0, self._left - self.rate * (now_s - self._since_s))
        self.rate, self._since_s = rate, now_s
        self._end_s = now_s + self._left / rate

    def come(self, now_s: float) -> None:
        self.has_come, self._end_s = True, now_s

    def passed_s(self, since_s: float, until_s: float) -> float:
        """For how long of that time it, or one that brought it to its source, was under way."""
        passed_s = 0.0
        at: Transfer | None = self
        while at is not None and until_s > since_s:
            first_s, last_s = max(at.begin_s, since_s), min(at._end_s if at.has_come else math.inf, until_s)
            passed_s += max(0.0, last_s - first_s)
            until_s = min(until_s, first_s)
            at = at.source
        return passed_s


class Links:
    """All transfers under way."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Transfer]] = []
        self._flowing: set[Transfer] = set()
        self._behind: dict[Transfer, list[Transfer]] = {}
        """Those that have all that has come to their source, and wait for its rest."""
        self._sequence = 0

    def begin(self, transfer: Transfer, now_s: float) -> None:
        transfer.begin_s = now_s
        self._flowing.add(transfer)
        for way in transfer.ways:
            way.transfers[transfer] = None
        if transfer.ways:
            self._share(transfer.ways, now_s)
        else:
            self._flow(transfer, transfer.rate, now_s)

    def next_s(self) -> float:
        """When the next one will be over. Infinity: none is under way."""
        heap = self._heap
        while heap and (heap[0][2] not in self._flowing or heap[0][2]._end_s != heap[0][0]):
            heappop(heap)
        return heap[0][0] if heap else math.inf

    def over(self, now_s: float) -> list[Transfer]:
        """Those that are over by now, each after its source."""
        found: list[Transfer] = []
        while self.next_s() <= now_s:
            transfer = heappop(self._heap)[2]
            self._flowing.discard(transfer)
            for way in transfer.ways:
                del way.transfers[transfer]
            self._share(transfer.ways, now_s)
            if transfer.source is None or transfer.source.has_come:
                self._come(transfer, now_s, found)
            else:
                self._behind.setdefault(transfer.source, []).append(transfer)
        return found

    def _come(self, transfer: Transfer, now_s: float, found: list[Transfer]) -> None:
        coming = [transfer]
        while coming:
            one = coming.pop()
            one.come(now_s)
            found.append(one)
            coming += self._behind.pop(one, ())

    def _flow(self, transfer: Transfer, rate: float, now_s: float) -> None:
        transfer.flow(rate, now_s)
        self._sequence += 1
        heappush(self._heap, (transfer._end_s, self._sequence, transfer))

    def _share(self, ways: Iterable[Way], now_s: float) -> None:
        """Give all that share a way with these, directly or through others, their rates anew."""
        touched = _touched(ways)
        left = {way: way.bytes_per_s for way in touched}
        open_ways = {way: dict(way.transfers) for way in touched if way.transfers}
        while open_ways:
            narrow = min(open_ways, key=lambda way: left[way] / len(open_ways[way]))
            rate = left[narrow] / len(open_ways[narrow])
            for transfer in [*open_ways[narrow]]:
                for way in transfer.ways:
                    left[way] -= rate
                    sharing = open_ways[way]
                    del sharing[transfer]
                    if not sharing:
                        del open_ways[way]
                if rate != transfer.rate:
                    self._flow(transfer, rate, now_s)


def _touched(ways: Iterable[Way]) -> dict[Way, None]:
    found = dict.fromkeys(ways)
    todo = [*found]
    while todo:
        for transfer in todo.pop().transfers:
            for way in transfer.ways:
                if way not in found:
                    found[way] = None
                    todo.append(way)
    return found
