"""What running attempts use of this machine: two small files of their cgroup, or else the times of their processes.

Called now and then, in a thread. It costs some 20 µs for an attempt with a cgroup of its own, and 50 µs for each
process of one without; nothing is started and nothing is kept but the last totals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import trio

from hal_core.agent.book import Book
from hal_core.agent.cpu_energy import CpuEnergyMeter
from hal_core.agent.gpu_use import DeviceUse, GpuMeter
from hal_core.agent.launcher.tree import children
from hal_core.agent.lease import boot_time_s
from hal_core.errors import WireError
from hal_core.models.message import PartStatus
from hal_core.models.node import Node
from hal_core.models.placement import AttemptKey
from hal_core.models.use import PartUse
from hal_core.wire.frames import FrameStream
from hal_core.wire.messages import Use

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
GPUS_VARIABLE: Final = b"HAL_GPUS="
DIGITS_MAX: Final = 6
PARTS_MAX: Final = 4096
"""So many attempts of one node are measured; what is said of them fits into one frame."""
ENDED_MAX: Final = 10_000
"""Attempts of which it is remembered what their GPUs did and what they drew; the oldest are forgotten first."""


@attrs.define
class _Drawn:
    """What something of an attempt drew while that was measured."""

    energy_j: float = 0.0
    measured_s: float = 0.0

    def add(self, energy_j: float, period_s: float) -> None:
        self.energy_j += energy_j
        self.measured_s += period_s

    def over(self, ran_s: float) -> float | None:
        """Joules in all of its time, of which some was not measured; None: nothing was."""
        return round(self.energy_j / self.measured_s * ran_s, 3) if self.measured_s else None


@attrs.define
class _AttemptUse:
    """Of one attempt: its devices together, in seconds of the time that was measured; what they and its CPUs drew."""

    busy_s: float = 0.0
    measured_s: float = 0.0
    gpus: _Drawn = attrs.field(factory=_Drawn)
    cpus: _Drawn = attrs.field(factory=_Drawn)


async def keep_telling(frames: FrameStream, meter: UseMeter, book: Book, period_s: float) -> None:
    """Tell the daemon every so often what runs and what it uses, until the connection is gone."""
    while True:
        use = await trio.to_thread.run_sync(lambda: meter.measure(book.running(), boot_time_s()))
        try:
            if use is not None:
                await frames.send(use)
        except WireError:
            return  # The receiving side notices as well.
        await trio.sleep(period_s)


def meter_of(node: Node, cgroups: Mapping[str, str]) -> UseMeter:
    """That of the node, with its GPUs if it has some."""
    return UseMeter(cgroups, GpuMeter() if node.gpus else None, CpuEnergyMeter())


class UseMeter:
    """`cgroups` are the directories for groups by controller, as the launcher was given them."""

    def __init__(
        self, cgroups: Mapping[str, str], gpus: GpuMeter | None = None, cpu_energy: CpuEnergyMeter | None = None
    ) -> None:
        """`gpus` None: the node has none."""
        self._gpus = gpus
        self._cpu_energy = cpu_energy
        self._devices: dict[AttemptKey, tuple[int, ...]] = {}
        """Of each attempt, as the environment of its first process says, also to an agent that came later."""
        self._uses: dict[AttemptKey, _AttemptUse] = {}
        self._unified = cgroups.get("unified")
        self._memory = cgroups.get("memory")
        self._totals: dict[AttemptKey, float] = {}
        """CPU time of each attempt, when they were looked at last."""
        self._last_s: float | None = None

    def measure(self, running: Sequence[tuple[AttemptKey, int]], now_s: float) -> Use | None:
        """What these attempts, with the process ids of their supervisors, have used since the last call.

        `now_s` is of any clock that only goes forward. Of an attempt that was not there at the last call nothing is
        said yet: its rate is not known. None at the first call, and if no time has passed since the last.
        """
        period_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        totals, found, worked = {}, [], dict[AttemptKey, float]()
        devices = {} if self._gpus is None else self._gpus.look()
        for key, supervisor_pid in running[:PARTS_MAX]:
            cpu_s, memory_bytes = self._total(key, supervisor_pid)
            totals[key] = cpu_s
            if key in self._totals and period_s > 0:
                worked[key] = max(0.0, cpu_s - self._totals[key])
                busy = self._busy_of(key, supervisor_pid, devices, period_s)
                found.append(PartUse(key, worked[key] / period_s, memory_bytes, busy))
        self._share_out(worked, period_s)
        self._totals = totals
        self._devices = {key: devices for key, devices in self._devices.items() if key in totals}
        return Use(period_s, tuple(found)) if period_s > 0 else None

    def shown(self, status: PartStatus) -> PartStatus:
        """Its end with what its GPUs did, if it has some that told, and what it drew: means of what was measured, for
        all of its time."""
        found, end = self._uses.get(status.key), status.end
        if found is None or end is None or status.start_time_s is None or status.end_time_s is None:
            return status
        ran_s = max(0.0, status.end_time_s - status.start_time_s)
        gpus_busy = round(found.busy_s / found.measured_s, 6) if found.measured_s else None
        energy_j, cpu_energy_j = found.gpus.over(ran_s), found.cpus.over(ran_s)
        told = attrs.evolve(end, gpus_busy=gpus_busy, energy_j=energy_j, cpu_energy_j=cpu_energy_j)
        return attrs.evolve(status, end=told)

    def _share_out(self, worked: Mapping[AttemptKey, float], period_s: float) -> None:
        """What the machine's processors drew, by the CPU time (seconds) of each attempt in all that was worked."""
        drawn = None if self._cpu_energy is None else self._cpu_energy.look(period_s)
        if drawn is None:
            return
        busy_s = max(drawn.busy_s, sum(worked.values()))
        for key, cpu_s in worked.items():
            self._use_of(key).cpus.add(drawn.energy_j * cpu_s / busy_s if busy_s else 0.0, period_s)

    def _use_of(self, key: AttemptKey) -> _AttemptUse:
        use = self._uses.setdefault(key, _AttemptUse())
        if len(self._uses) > ENDED_MAX:
            del self._uses[next(iter(self._uses))]
        return use

    def _busy_of(
        self, key: AttemptKey, supervisor_pid: int, looked: Mapping[int, DeviceUse], period_s: float
    ) -> float | None:
        """How many of its devices computed; None if it has none, or one of them does not tell."""
        if not looked:
            return None
        if key not in self._devices and (found := _devices_of(supervisor_pid)) is not None:
            self._devices[key] = found
        devices = [looked.get(each) for each in self._devices.get(key, ())]
        told = [device for device in devices if device is not None]
        if not told or len(told) < len(devices):
            return None
        use = self._use_of(key)
        busy = sum(device.busy for device in told)
        use.busy_s += busy * period_s
        use.measured_s += period_s
        watts = [device.watts for device in told if device.watts is not None]
        if len(watts) == len(told):
            use.gpus.add(sum(watts) * period_s, period_s)
        return busy

    def _total(self, key: AttemptKey, supervisor_pid: int) -> tuple[float, int]:
        """CPU time (seconds) so far and memory (bytes) now. What cannot be read is 0: it has just ended."""
        cpu_s = _cpu_s_of_group(f"{self._unified}/{key}") if self._unified else None
        memory_bytes = self._memory_of_group(key)
        if cpu_s is None or memory_bytes is None:
            cpu_s_of_tree, memory_bytes_of_tree = _of_tree(supervisor_pid)
            cpu_s = cpu_s_of_tree if cpu_s is None else cpu_s
            memory_bytes = memory_bytes_of_tree if memory_bytes is None else memory_bytes
        return cpu_s, memory_bytes

    def _memory_of_group(self, key: AttemptKey) -> int | None:
        if self._memory is None:
            return None
        file = "memory.current" if self._memory == self._unified else "memory.usage_in_bytes"
        text = _read(f"{self._memory}/{key}/{file}")
        return int(text) if text else None


def _devices_of(supervisor_pid: int) -> tuple[int, ...] | None:
    """The GPUs that were given to what is below the supervisor, as HAL told its first process; None: not there yet.

    A process can change what stands there: what is no list of devices counts as none.
    """
    for pid in children(supervisor_pid):
        for text in _read(f"/proc/{pid}/environ").split(b"\0"):
            if text.startswith(GPUS_VARIABLE):
                devices = text.removeprefix(GPUS_VARIABLE).split(b",")
                is_sound = all(each.isdigit() and len(each) <= DIGITS_MAX for each in devices)
                return tuple(map(int, devices)) if is_sound else ()
    return None


def _cpu_s_of_group(directory: str) -> float | None:
    for line in _read(f"{directory}/cpu.stat").splitlines():
        name, _, value = line.partition(b" ")
        if name == b"usage_usec":
            return int(value) / 1e6
    return None


def _of_tree(supervisor_pid: int) -> tuple[float, int]:
    """Of everything below the supervisor, with what it has reaped; a process that left its parent is below it, too."""
    times = _stat(supervisor_pid)
    if times is None:
        return 0.0, 0
    cpu_ticks, pages = times[2] + times[3], 0
    waiting = children(supervisor_pid)
    for pid in waiting:  # Grows while we go.
        waiting += children(pid)
        if (times := _stat(pid)) is not None:
            cpu_ticks += sum(times[:4])
            pages += times[4]
    return cpu_ticks / TICKS_PER_S, pages * PAGE_BYTES


def _stat(pid: int) -> tuple[int, int, int, int, int] | None:
    """Ticks in user and kernel mode, the same of reaped children, pages in memory (proc(5), fields 14 to 17, 24)."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 22:
        return None
    user, system, children_user, children_system = map(int, fields[11:15])
    return user, system, children_user, children_system, int(fields[21])


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
