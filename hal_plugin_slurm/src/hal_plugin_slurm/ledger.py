"""What was submitted to Slurm, on disk before it is: a line for each intent, for each id that Slurm gave, and for each
attempt that may be forgotten. One HAL writes it, beside its journal.

After a crash it says which attempts may be in Slurm, so that they are looked for there and not submitted again. It is
written anew, with what still matters, whenever it is opened.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hal_core import HalError, JobId, NodeName
from hal_plugin_slurm.ticket import Element, Ticket
from hal_plugin_slurm.way import SlurmNode


class LedgerDamaged(HalError):
    """The ledger is not what was written."""


class Ledger:
    """`instance` tells this HAL from all others that use the same Slurm. Calls block for a sync of the disk."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = directory / "submissions"
        self.instance, self.tickets, self.nodes = _read(self._path)
        self._rewrite()

    def intend(self, tickets: Iterable[Ticket]) -> None:
        """They are about to be submitted."""
        self._append(_intent(ticket) for ticket in tickets)

    def note_ids(self, tickets: Iterable[Ticket]) -> None:
        """Slurm gave them ids, or they were found there."""
        self._append({"name": ticket.name, "native_id": ticket.native_id} for ticket in tickets)

    def note_nodes(self, nodes: Sequence[SlurmNode]) -> None:
        """These are Slurm's nodes that HAL knows."""
        self._append([_nodes_entry(nodes)])

    def forget(self, tickets: Iterable[Ticket]) -> None:
        """HAL's journal has the ends of all their elements."""
        self._append({"forgotten": ticket.name} for ticket in tickets)

    def _append(self, entries: Iterable[dict[str, Any]]) -> None:
        text = b"".join(_line(entry) for entry in entries)
        if not text:
            return
        size_bytes = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                file.write(text)
                file.flush()
                os.fdatasync(file.fileno())
        except OSError:
            os.truncate(self._path, size_bytes)  # Behind half a line nothing could be read any more.
            raise

    def _rewrite(self) -> None:
        entries: list[dict[str, Any]] = [{"instance": self.instance}, _nodes_entry(self.nodes)]
        for ticket in self.tickets:
            entries.append(_intent(ticket))
            if ticket.native_id is not None:
                entries.append({"name": ticket.name, "native_id": ticket.native_id})
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("wb") as file:
            file.write(b"".join(_line(entry) for entry in entries))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _nodes_entry(nodes: Iterable[SlurmNode]) -> dict[str, Any]:
    return {"nodes": [[node.name, node.cpu_count, node.memory_mb, list(node.gpus)] for node in nodes]}


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _intent(ticket: Ticket) -> dict[str, Any]:
    return {
        "intent": ticket.name,
        "time_s": ticket.intent_time_s,
        "job_id": ticket.job_id,
        "attempt": ticket.attempt,
        "is_array": ticket.is_array,
        "elements": [[index, list(element.nodes)] for index, element in ticket.elements.items()],
    }


def _read(path: Path) -> tuple[str, list[Ticket], list[SlurmNode]]:
    """(instance, tickets, nodes). The last line may be torn: what it says had not been acted upon."""
    instance, tickets, nodes = secrets.token_hex(4), dict[str, Ticket](), list[SlurmNode]()
    text = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        try:
            match json.loads(line):
                case {"instance": str(instance)}:
                    pass
                case {"nodes": [*rows]}:
                    nodes = [SlurmNode(name, "", cpus, memory_mb, tuple(gpus)) for name, cpus, memory_mb, gpus in rows]
                case {"intent": str(name)} as entry:
                    tickets[name] = _ticket(entry)
                case {"name": name, "native_id": int(native_id)}:
                    tickets[name].native_id = native_id
                case {"forgotten": name}:
                    tickets.pop(name, None)
                case other:
                    raise ValueError(f"unknown entry {other!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerDamaged(f"{path}:{number}: {error!r}: restore it from a backup") from None
    return instance, list(tickets.values()), nodes


def _ticket(entry: dict[str, Any]) -> Ticket:
    return Ticket(
        name=entry["intent"],
        job_id=JobId(entry["job_id"]),
        attempt=entry["attempt"],
        is_array=entry["is_array"],
        elements={index: Element(tuple(NodeName(name) for name in nodes)) for index, nodes in entry["elements"]},
        intent_time_s=entry["time_s"],
        doubt_time_s=entry["time_s"],
    )
