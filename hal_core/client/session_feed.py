"""The items of one call, sent chunk by chunk: small ones first, larger ones while the items come fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

from hal_core.client.session_functions import Functions
from hal_core.client.session_link import SessionLink
from hal_core.client.session_policy import Policy
from hal_core.client.session_sinks import ResultSink
from hal_core.client.task_codec import dumps_all
from hal_core.errors import InvalidInput, Problem
from hal_core.wire.packed import pack

CHUNK_COUNT_MIN: Final = 16
CHUNK_COUNT_MAX: Final = 1024
CHUNK_BYTES_MAX: Final = 1 << 20
CHUNK_S_MAX: Final = 0.002
"""A source of items that is slower gets smaller chunks, so that none waits for the next."""
STREAM_COUNT_MAX: Final = 50_000
"""So many tasks of one stream are under way, or done and not taken."""


class Feed:
    """`function` is called with one argument for one iterable, else with a tuple of them."""

    def __init__(
        self,
        link: SessionLink,
        functions: Functions,
        policy: Policy,
        function: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
    ) -> None:
        if not iterables:
            raise InvalidInput([Problem("iterables", "none was given; give at least one")])
        self._link = link
        self.count = 0
        if len(iterables) == 1:
            self._items = iter(iterables[0])
            self._function = functions.number("map", function, policy)
        else:
            self._items = ((arguments, {}) for arguments in zip(*iterables, strict=False))
            self._function = functions.number("call", function, policy)
        self._chunk_count = CHUNK_COUNT_MIN
        self._begin_s = 0.0

    def send_next(self, sink: ResultSink) -> bool:
        """Whether there was anything left to send."""
        things = self.take()
        if things:
            self.send(things, sink)
        return bool(things)

    def take(self) -> list[Any]:
        """The next items; none at the end."""
        self._begin_s = time.monotonic()
        return list(islice(self._items, self._chunk_count))

    def send(self, things: list[Any], sink: ResultSink) -> None:
        """What `take` gave. Waits while too many tasks are under way."""
        items = pack(dumps_all(things))
        is_slow = time.monotonic() - self._begin_s > CHUNK_S_MAX or len(items.data) > CHUNK_BYTES_MAX
        self._chunk_count = max(self._chunk_count // 4, 1) if is_slow else min(self._chunk_count * 2, CHUNK_COUNT_MAX)
        self._link.wait_for_room(len(items), len(items.data))
        self._link.submit(self._function, items, sink, self.count)
        self.count += len(items)
