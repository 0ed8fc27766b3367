"""The room of the live state, kept from pass to pass: only nodes that changed are packed anew. Pure.

A snapshot's room is a copy of it, which costs next to nothing; made from the columns of ten thousand nodes it would be
a good part of a pass. That it equals what the columns say is a property test (tests/properties/test_core.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hal_core.models.room import Room

if TYPE_CHECKING:
    from hal_core.models.packing import Packing
    from hal_core.rules.licences import Counts
    from hal_core.rules.node_table import NodeTable


class LiveRoom:
    """Follows the columns of one node table."""

    __slots__ = ("_room",)

    def __init__(self) -> None:
        self._room: Room | None = None

    def copy(self, packing: Packing, table: NodeTable, licences: Counts) -> Room:
        """What is free now, as a room of its own."""
        room, self._room = self._room, None  # A pass may be broken off anywhere: then it is made anew.
        if room is None or room.packing is not packing or len(table) == 1:
            room = Room.of(packing, table, licences)
        else:
            for number in table.touched:
                room.put(number, packing.row(table, number) if table.is_available[number] else -1)
            room.set_licences(licences)
        table.touched.clear()
        self._room = room
        return room.copy()
