"""Reading Slurm's reservations: one that cannot be read does not hide the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from hal_plugin_slurm.way import SlurmReservation, SlurmUnanswered

log = logging.getLogger("hal.slurm")

Raw = TypeVar("Raw")


class ReservationReader:
    """Remembers what it could not read, so as to say it once."""

    def __init__(self) -> None:
        self._left_out: frozenset[str] = frozenset()

    def read_all(self, read: Callable[[Raw], SlurmReservation], raw: Iterable[Raw]) -> list[SlurmReservation]:
        """Those that `read` raises no SlurmUnanswered for."""
        found: list[SlurmReservation] = []
        left_out: set[str] = set()
        for each in raw:
            try:
                found.append(read(each))
            except SlurmUnanswered as error:
                left_out.add(str(error))
        for why in sorted(left_out - self._left_out):
            log.warning("a reservation of Slurm's is left out, for it cannot be read: %s", why)
        self._left_out = frozenset(left_out)
        return found
