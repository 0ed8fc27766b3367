"""Usage: CPU-seconds and GPU-seconds by who used them, forgotten by halves. A fold of placements and releases; pure.

What runs is charged continuously: a value at a moment, and the CPUs and GPUs held since then, give the value at any
later one exactly, so nothing has to be done while time passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hal_core.rules.node_table import mask_of

if TYPE_CHECKING:
    from hal_core.models.job import JobSpec, Owner
    from hal_core.models.placement import Share
    from hal_core.rules.job_record import Activity, JobRecord


class Payer(NamedTuple):
    """Whose usage it is, as the job said. Any of it may have left the configuration meanwhile."""

    account: str
    user: str
    qos: str
    partition: str


class Used(NamedTuple):
    cpu_s: float = 0.0
    gpu_s: float = 0.0

    def plus(self, other: Used) -> Used:
        return Used(self.cpu_s + other.cpu_s, self.gpu_s + other.gpu_s)


def payer_of(owner: Owner, spec: JobSpec) -> Payer:
    return Payer(spec.account, owner.user, spec.qos, spec.partition)


def held_by(shares: tuple[Share, ...]) -> tuple[int, int]:
    """(CPUs, GPUs) of an allocation: what it keeps from others, which is more than was asked for if it is exclusive."""
    cpus = sum(mask_of(share.cpus).bit_count() for share in shares)
    return cpus, sum(mask_of(share.gpus).bit_count() for share in shares if share.gpus)


class Meter:
    """What one payer has used: (`cpu_s`, `gpu_s`) at `time_s`, growing with what is held since."""

    __slots__ = ("cpu_s", "cpus", "gpu_s", "gpus", "job_count", "time_s")

    def __init__(self, cpu_s: float, gpu_s: float, time_s: float) -> None:
        self.cpu_s = cpu_s
        self.gpu_s = gpu_s
        self.time_s = time_s
        self.job_count = 0
        """Unfinished jobs."""
        self.cpus = 0
        self.gpus = 0

    def at(self, time_s: float, half_life_s: float) -> Used:
        """A clock that was set back adds nothing."""
        passed_s = time_s - self.time_s
        if passed_s <= 0.0:
            return Used(self.cpu_s, self.gpu_s)
        if half_life_s <= 0.0:
            return Used(self.cpu_s + self.cpus * passed_s, self.gpu_s + self.gpus * passed_s)
        halves = passed_s / half_life_s * math.log(2.0)
        kept, grown_s = math.exp(-halves), -math.expm1(-halves) * half_life_s / math.log(2.0)
        return Used(self.cpu_s * kept + self.cpus * grown_s, self.gpu_s * kept + self.gpus * grown_s)

    def settle(self, time_s: float, half_life_s: float) -> None:
        if time_s > self.time_s:
            self.cpu_s, self.gpu_s = self.at(time_s, half_life_s)
            self.time_s = time_s


class Ledger:
    """The usage of everybody. Two that saw the same events are equal, bit by bit."""

    def __init__(self) -> None:
        self.half_life_s = 0.0
        self._of: dict[Payer, Meter] = {}

    def set_half_life(self, half_life_s: float, time_s: float) -> None:
        """From now on. What was used before is settled as it counted until now."""
        if half_life_s != self.half_life_s:
            for meter in self._of.values():
                meter.settle(time_s, self.half_life_s)
            self.half_life_s = half_life_s

    def add_job(self, record: JobRecord) -> None:
        self._meter(record, record.submit_time_s).job_count += 1

    def remove_job(self, record: JobRecord) -> None:
        """Of who never used anything and has nothing more to come, nothing is kept."""
        meter = self._of[record.payer]
        meter.job_count -= 1
        if not meter.job_count and meter.cpu_s == meter.gpu_s == 0.0 and not meter.cpus:
            del self._of[record.payer]

    def active(self) -> Iterator[Payer]:
        """Who has jobs."""
        return (payer for payer, meter in self._of.items() if meter.job_count)

    def place(self, activity: Activity, is_restored: bool) -> None:
        """It holds its CPUs and GPUs from its placement on. What a dump restores was settled when it was written."""
        meter = self._meter(activity.record, activity.place_time_s)
        if not is_restored:
            meter.settle(activity.place_time_s, self.half_life_s)
        meter.cpus += activity.charged_cpu_count
        meter.gpus += activity.gpu_count

    def release(self, activity: Activity, time_s: float) -> None:
        meter = self._meter(activity.record, time_s)
        meter.settle(time_s, self.half_life_s)
        meter.cpus -= activity.cpu_count
        meter.gpus -= activity.gpu_count

    def hold_still(self, activity: Activity, time_s: float, sign: int) -> None:
        """It is suspended (1) or goes on (-1): CPUs that it lends are not charged. GPUs it keeps, and pays for."""
        meter = self._meter(activity.record, time_s)
        meter.settle(time_s, self.half_life_s)
        meter.cpus -= sign * activity.cpu_count

    def _meter(self, record: JobRecord, time_s: float) -> Meter:
        meter = self._of.get(record.payer)
        if meter is None:
            meter = self._of[record.payer] = Meter(0.0, 0.0, time_s)
        return meter

    def used(self, now_s: float) -> Iterator[tuple[Payer, Used]]:
        """Everybody's usage at that moment, with what runs."""
        for payer, meter in self._of.items():
            yield payer, meter.at(now_s, self.half_life_s)

    def rows(self) -> tuple[tuple[Payer, float, float, float], ...]:
        """For a dump: (payer, CPU-seconds, GPU-seconds, when)."""
        return tuple((payer, each.cpu_s, each.gpu_s, each.time_s) for payer, each in self._of.items())

    def load(self, rows: tuple[tuple[Payer, float, float, float], ...]) -> None:
        self._of = {Payer(*payer): Meter(cpu_s, gpu_s, time_s) for payer, cpu_s, gpu_s, time_s in rows}
