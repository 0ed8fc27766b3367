"""Drivers of apache-libcloud: one for each thread (they hold a connection), made with secrets that are read late.

What goes wrong in a call comes out as HAL's error, without any of the secrets in its text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hal_core.errors import HalError, Refused


class Drivers:
    """`with drivers.call("list") as driver:` lends this thread's driver.

    `make` is given the secrets that `read` returns, by name; `option` is where they come from.
    """

    def __init__(self, make: Callable[..., Any], read: Callable[[], Mapping[str, str]], option: str) -> None:
        self._make = make
        self._read = read
        self._option = option
        self._own = threading.local()
        self._generation = 0
        self._secrets: frozenset[str] = frozenset()

    @contextmanager
    def call(self, what: str) -> Iterator[Any]:
        """Raises HalError only. After a refusal the credentials are read again: they may have been changed."""
        from hal_core.fleet.failures import failure_of

        try:
            yield self._driver()
        except Exception as error:  # noqa: BLE001  drivers raise whatever their parsers do
            failure = failure_of(error, what, self._option)
            if isinstance(failure, Refused):
                self._generation += 1
            raise self._without_secrets(failure) from None  # What it came from may show requests with all they hold.

    def _driver(self) -> Any:
        generation = self._generation
        if getattr(self._own, "generation", None) != generation:
            secrets = self._read()
            self._secrets |= frozenset(secrets.values())
            self._own.driver = self._make(**secrets)
            self._own.generation = generation
        return self._own.driver

    def _without_secrets(self, failure: HalError) -> HalError:
        text = str(failure)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        failure.args = (text,)
        return failure
