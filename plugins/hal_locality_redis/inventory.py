"""Which keys a cache has and how large they are: scanned once, then kept fresh by the cache's own events.

A thread of its own follows each cache. Events are not kept for who is away, so a lost connection means a new scan;
until then nothing is known. And as some changes make no event (FLUSHALL), it is scanned anew from time to time.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from hal_locality_redis.cache import Cache, glob_of, texts_of
from hal_locality_redis.options import RedisOptions

logger = logging.getLogger(__name__)

CHANNEL = "__keyspace@0__:"
LOOK_S = 0.1
"""How long the thread waits for an event before it looks whether it should end."""

RECONNECT_S = 1.0
EVENTS_AT_ONCE = 1000
WANTED_EVENTS = "g$xe"
"""Of keys (deleted, renamed), of strings, of keys that expired and that were evicted (`notify-keyspace-events`)."""


class Inventory:
    """`size` never waits for the cache; `wait` does, for the first scan or the failure to make one."""

    def __init__(self, cache: Cache, options: RedisOptions) -> None:
        self._cache = cache
        self._options = options
        self._sizes: dict[str, int] = {}
        self._is_tried = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"inventory of {cache.server.address}", daemon=True)
        self._start = threading.Lock()

    def size(self, key: str) -> int | None:
        """In bytes; None: as far as is known, it is not there."""
        return self._sizes.get(key)

    def wait(self, timeout_s: float) -> None:
        """Until it has been asked for what it has. Begins to follow, the first time."""
        with self._start:
            if self._thread.ident is None and not self._is_over.is_set():
                self._thread.start()
        self._is_tried.wait(timeout_s)

    def close(self) -> None:
        """The thread ends within a second."""
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join(LOOK_S + self._options.timeout_s)

    def _follow(self) -> None:
        is_reachable = True
        while not self._is_over.is_set():
            try:
                self._follow_connection()
                is_reachable = True
            except Exception as error:  # noqa: BLE001  the wall of a thread: an inventory that nobody follows says nothing
                self._sizes = {}
                if is_reachable:
                    logger.warning("nothing is known of what is in %s: %s", self._cache.server.address, error)
                is_reachable = False
            self._is_tried.set()
            self._is_over.wait(RECONNECT_S)

    def _follow_connection(self) -> None:
        with self._cache.client() as client, client.pubsub() as events:
            self._check_events(client)
            events.psubscribe(CHANNEL + glob_of(self._options.key_prefix))
            if events.get_message(timeout=self._options.timeout_s) is None:  # From then on nothing is missed.
                raise TimeoutError(f"{self._cache.server.address} does not confirm that it will send events")
            while not self._is_over.is_set():
                self._scan()
                self._is_tried.set()
                until_s = time.monotonic() + self._options.rescan_s
                while (now_s := time.monotonic()) < until_s and not self._is_over.is_set():
                    self._follow_events(events, min(until_s, now_s + self._options.timeout_s))
                    client.ping()  # A cache whose machine is gone sends no events, and says nothing about it.

    def _scan(self) -> None:
        found: dict[str, int] = {}
        for keys in self._cache.scan():
            found |= {key: size for key, size in self._cache.sizes(keys).items() if size is not None}
            if len(found) > self._options.key_count_max:
                most = self._options.key_count_max
                logger.warning("%s has more than %d keys: the rest is not seen", self._cache.server.address, most)
                break
        self._sizes = found

    def _follow_events(self, events: Any, until_s: float) -> None:
        """Ask again about whatever changed: an event says only that something did, and the newest answer is right."""
        while (left_s := until_s - time.monotonic()) > 0 and not self._is_over.is_set():
            message = events.get_message(timeout=min(LOOK_S, left_s))
            changed: dict[bytes, None] = {}
            while message is not None:
                changed[message["channel"].removeprefix(CHANNEL.encode())] = None
                message = events.get_message(timeout=0) if len(changed) < EVENTS_AT_ONCE else None
            if changed:
                self._note(self._cache.sizes(list(texts_of(changed))))

    def _note(self, sizes: dict[str, int | None]) -> None:
        for key, size in sizes.items():
            if size is None:
                self._sizes.pop(key, None)
            elif key in self._sizes or len(self._sizes) < self._options.key_count_max:
                self._sizes[key] = size

    def _check_events(self, client: Any) -> None:
        """Without its events a cache is only scanned. It is not ours to configure."""
        from redis.exceptions import RedisError

        try:
            told = client.config_get("notify-keyspace-events").get("notify-keyspace-events", "")
        except RedisError as error:  # many hosted caches have no CONFIG; they may send events all the same
            logger.info("%s does not tell whether it sends events: %s", self._cache.server.address, error)
            return
        if "K" not in told or not ("A" in told or set(WANTED_EVENTS) <= set(told)):
            logger.warning(
                "%s sends no events of its keys, so its inventory may be %g s old (notify-keyspace-events: %r, not KA)",
                self._cache.server.address, self._options.rescan_s, told,
            )  # fmt: skip
