"""Tiers that were made, by the inputs they are for, until one of the datasets that these name is another. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hal_core.models.dataset import REFERENCE
from hal_core.models.staging import Tiers

KEPT_MAX: Final = 200_000
"""Inputs; then it begins anew."""


class TierMemory:
    """Texts are what inputs say after `dataset:`."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ...], Tiers] = {}
        self._naming: dict[str, list[tuple[str, ...]]] = {}

    def get(self, inputs: tuple[str, ...]) -> Tiers | None:
        return self._made.get(inputs)

    def put(self, inputs: tuple[str, ...], tiers: Tiers) -> Tiers:
        if len(self._made) >= KEPT_MAX:
            self.clear()
        self._made[inputs] = tiers
        for text in inputs:
            self._naming.setdefault(text.removeprefix(REFERENCE), []).append(inputs)
        return tiers

    def forget(self, texts: Iterable[str]) -> None:
        for text in texts:
            for inputs in self._naming.pop(text, ()):
                self._made.pop(inputs, None)

    def clear(self) -> None:
        self._made.clear()
        self._naming.clear()
