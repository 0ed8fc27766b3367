"""CloudProvider over a fixed list of machines: one is brought in by running its command, given back by ending that.

Every change is in the record before a process is started and after it was ended, so that a daemon that comes back
finds the machines of its predecessor, and a repeated token never starts a second machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio

from hal_cloud_static.options import OfferOptions, StaticOptions
from hal_cloud_static.process import end_process, find_process, is_running, start_process
from hal_cloud_static.record import Machine, Record, read_record, write_record
from hal_core import Instance, NotFound, Offer, Options, Refused, did_you_mean, structure_options


class StaticCloud:
    """Serves one operation at a time: there are few machines, and order matters more than speed."""

    def __init__(self, options: StaticOptions) -> None:
        self._offers = {offer.name: offer for offer in options.offers}
        self._directory = Path(options.state_directory)
        self._path = self._directory / "machines.json"
        self._stop_grace_s = options.stop_grace_s
        self._lock = trio.Lock()

    @classmethod
    def from_options(cls, options: Options) -> StaticCloud:
        return cls(structure_options(StaticOptions, options, "static"))

    async def offers(self) -> Sequence[Offer]:
        return [offer.offer() for offer in self._offers.values()]

    async def provision(self, offer: str, count: int, token: str) -> Sequence[Instance]:
        """Bring in `count` machines, or none. A token that was served before brings in no more."""
        async with self._lock:
            record = await trio.to_thread.run_sync(self._read)
            if token not in record.tokens:
                self._reserve(record, offer, count, token)
                await trio.to_thread.run_sync(self._write, record)
            mine = [machine for machine in record.machines if machine.token == token]
            try:
                await trio.to_thread.run_sync(self._start, mine)
            except Refused:
                await self._end(mine)
                record.machines = [machine for machine in record.machines if machine not in mine]
                record.tokens.remove(token)
                raise
            finally:
                self._write(record)
            return [_instance(machine) for machine in mine]

    async def release(self, native_ids: Sequence[str]) -> None:
        async with self._lock:
            record = await trio.to_thread.run_sync(self._read)
            leaving = [machine for machine in record.machines if machine.native_id in native_ids]
            await self._end(leaving)
            record.machines = [machine for machine in record.machines if machine not in leaving]
            await trio.to_thread.run_sync(self._write, record)

    async def instances(self) -> Sequence[Instance]:
        """The machines whose process runs. One whose process has ended is forgotten, and free again."""
        async with self._lock:
            record = await trio.to_thread.run_sync(self._read)
            return [_instance(machine) for machine in record.machines]

    def _reserve(self, record: Record, name: str, count: int, token: str) -> None:
        """Note in the record which machines will be used."""
        offer = self._offers.get(name)
        if offer is None:
            known = ", ".join(self._offers) or "none"
            raise NotFound(f"no offer named {name!r}; there are: {known}{did_you_mean(name, self._offers)}")
        in_use = {machine.node for machine in record.machines}
        free = [node for node in offer.nodes if node not in in_use]
        if count > len(free):
            raise Refused(f"offer {name!r}: {len(free)} of {len(offer.nodes)} machines are free, {count} wanted")
        for node in free[:count]:
            record.serial += 1
            record.machines.append(Machine(f"{node}#{record.serial}", name, node, token))
        record.remember(token)

    def _start(self, machines: list[Machine]) -> None:
        """Run the command of each machine that has none yet."""
        for machine in machines:
            if not machine.pid:
                self._start_one(self._offers[machine.offer], machine)

    def _start_one(self, offer: OfferOptions, machine: Machine) -> None:
        output = self._directory / f"{machine.node}.log"
        command = offer.command_for(machine.node)
        machine.pid, machine.start_ticks = start_process(command, output, self._mark(machine))

    async def _end(self, machines: list[Machine]) -> None:
        async with trio.open_nursery() as nursery:
            for machine in machines:
                nursery.start_soon(end_process, machine.pid, machine.start_ticks, self._stop_grace_s)

    def _mark(self, machine: Machine) -> str:
        return f"{self._directory}:{machine.native_id}"

    def _read(self) -> Record:
        """A machine without a process was about to be started when a daemon died: perhaps it was."""
        record = read_record(self._path)
        for machine in record.machines:
            if not machine.pid and (found := find_process(self._mark(machine))) is not None:
                machine.pid, machine.start_ticks = found
        record.machines = [
            machine for machine in record.machines if not machine.pid or is_running(machine.pid, machine.start_ticks)
        ]
        return record

    def _write(self, record: Record) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        write_record(self._path, record)


def _instance(machine: Machine) -> Instance:
    return Instance(machine.native_id, machine.offer, machine.node, is_ready=bool(machine.pid))
