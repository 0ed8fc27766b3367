"""Reading server-sent events line by line. Pure; both clients and the CLI use it."""

from __future__ import annotations


class ServerEvent:
    """One event: its sequence number in the journal, its kind (`JobEnded`), and its fields as JSON text."""

    __slots__ = ("data", "kind", "sequence")

    def __init__(self, sequence: int, kind: str, data: str) -> None:
        self.sequence = sequence
        self.kind = kind
        self.data = data


class EventParser:
    """Comments and unknown fields are ignored, as the standard for event streams says."""

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        """Up to which all was told: where to take the stream up again, if it breaks off between two events."""
        self._sequence = sequence
        self._kind = ""
        self._data: list[str] = []

    def feed(self, line: str) -> ServerEvent | None:
        """The event that this line completes, if any."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id" and value.isascii() and value.isdecimal():
                self._sequence = int(value)
            elif name == "event":
                self._kind = value
            elif name == "data":
                self._data.append(value)
            return None
        self.sequence = self._sequence
        if not self._data:
            return None
        event = ServerEvent(self._sequence, self._kind, "\n".join(self._data))
        self._kind, self._data = "", []
        return event
