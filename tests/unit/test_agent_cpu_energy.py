"""The energy of processors, from files as Linux's powercap has them, and each attempt's share of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from hal_core.agent.cpu_energy import TICKS_PER_S, CpuEnergyMeter, Drawn
from hal_core.agent.use import UseMeter
from hal_core.models.job import End, EndKind, JobId
from hal_core.models.message import PartStatus
from hal_core.models.placement import AttemptKey

RANGE_UJ = 262_143_328_850
KEYS = [AttemptKey(JobId(number), 0, 1) for number in (3, 4, 5)]


class Machine:
    """Files of two packages, and of zones that are within packages or count them once more."""

    def __init__(self, directory: Path) -> None:
        self.powercap, self.proc_stat = directory / "powercap", directory / "stat"
        for zone, name in {
            "intel-rapl": "",
            "intel-rapl:0": "package-0",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:1": "package-1",
            "intel-rapl:2": "psys",
            "intel-rapl-mmio:0": "package-0",
        }.items():
            (self.powercap / zone).mkdir(parents=True)
            if name:
                (self.powercap / zone / "name").write_text(f"{name}\n")
                (self.powercap / zone / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
                self.energy(zone, 10**9)
        self.busy(0)

    def energy(self, zone: str, energy_uj: int) -> None:
        (self.powercap / zone / "energy_uj").write_text(f"{energy_uj}\n")

    def busy(self, busy_s: int) -> None:
        """In user mode, with as much waiting for disks beside it, which is no work."""
        ticks = busy_s * TICKS_PER_S
        self.proc_stat.write_text(f"cpu  {ticks} 0 0 99 {ticks} 0 0 7 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")

    def meter(self) -> CpuEnergyMeter:
        return CpuEnergyMeter(self.powercap, self.proc_stat)


def test_packages_and_memory_are_counted_once_and_nothing_within_them(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    meter = machine.meter()
    assert meter.look(1.0) is None, "at first nothing is known"
    for number, zone in enumerate(sorted(path.name for path in machine.powercap.glob("*:*"))):
        machine.energy(zone, 10**9 + 10**6 * 2**number)
    machine.busy(5)
    zones = sorted(path.name for path in machine.powercap.glob("*:*"))
    counted = sum(2 ** zones.index(zone) for zone in ("intel-rapl:0", "intel-rapl:0:1", "intel-rapl:1"))
    assert meter.look(1.0) == Drawn(counted, 5.0)
    assert meter.look(1.0) == Drawn(0.0, 0.0)


def test_a_meter_that_turns_over_goes_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.energy("intel-rapl:1", RANGE_UJ - 3_000_000)
    meter = machine.meter()
    meter.look(1.0)
    machine.energy("intel-rapl:1", 4_000_000)
    assert meter.look(1.0) == Drawn(7.0, 0.0)


def test_a_machine_that_does_not_tell_all_tells_nothing(tmp_path: Path) -> None:
    assert CpuEnergyMeter(tmp_path / "none", tmp_path / "stat").look(1.0) is None
    machine = Machine(tmp_path)
    meter = machine.meter()
    meter.look(1.0)
    (machine.powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.look(1.0) is None
    machine.energy("intel-rapl:1", 10**9)
    assert meter.look(1.0) is None, "what was drawn since the last look is not known"
    assert meter.look(1.0) == Drawn(0.0, 0.0)


@pytest.mark.parametrize("watts", [50, 200, 900])
def test_a_time_in_which_meters_may_have_turned_unseen_is_none_that_was_measured(tmp_path: Path, watts: int) -> None:
    """An agent that had no connection for hours looks again: what it tells is the mean of when it looked."""
    machine, key = Machine(tmp_path), KEYS[0]
    groups = tmp_path / "groups"
    meter = UseMeter({"unified": str(groups), "memory": str(groups)}, cpu_energy=machine.meter())
    for now_s in (0, 10, 20, 290, 14_400, 14_410):
        machine.energy("intel-rapl:0", watts * now_s * 10**6 % RANGE_UJ)
        machine.busy(now_s)
        write_cpu_s(groups, key, now_s)
        meter.measure([(key, 0)], float(now_s))
    end = meter.shown(ended(key, 14_410.0)).end
    assert end is not None
    assert end.cpu_energy_j == pytest.approx(watts * 14_410.0)


def ended(key: AttemptKey, ran_s: float) -> PartStatus:
    return PartStatus(key, start_time_s=100.0, end_time_s=100.0 + ran_s, end=End(EndKind.EXITED, 0))


class Told(CpuEnergyMeter):
    """A meter that says what it was given, look by look."""

    def __init__(self, looks: Sequence[Drawn | None]) -> None:
        self._looks = list(looks)

    def look(self, period_s: float) -> Drawn | None:
        return self._looks.pop(0)


def write_cpu_s(directory: Path, key: AttemptKey, cpu_s: int) -> None:
    (directory / str(key)).mkdir(exist_ok=True, parents=True)
    (directory / str(key) / "cpu.stat").write_text(f"usage_usec {cpu_s * 10**6}\n")
    (directory / str(key) / "memory.current").write_text("0\n")


def shares(directory: Path, looks: Sequence[Drawn | None], cpu_s: Sequence[Sequence[int]]) -> list[float | None]:
    """What attempts are told that ran for just as long as was looked at them, a second for each look but the first."""
    meter = UseMeter({"unified": str(directory), "memory": str(directory)}, cpu_energy=Told(looks))
    totals = [0] * len(cpu_s)
    for at in range(len(looks)):
        for number, key in enumerate(KEYS[: len(cpu_s)]):
            totals[number] += cpu_s[number][at]
            write_cpu_s(directory, key, totals[number])
        meter.measure([(key, 0) for key in KEYS[: len(cpu_s)]], float(at))
    told = [meter.shown(ended(key, float(len(looks) - 1))).end for key in KEYS[: len(cpu_s)]]
    return [None if end is None else end.cpu_energy_j for end in told]


def test_an_attempt_has_the_share_of_its_cpu_time(tmp_path: Path) -> None:
    looks = [None, Drawn(100.0, 8.0), Drawn(50.0, 0.0), Drawn(10.0, 2.0)]
    assert shares(tmp_path, looks, [(5, 6, 0, 0), (0, 1, 0, 2)]) == [75.0, 12.5 + 10.0]


def test_where_nobody_tells_nothing_is_said(tmp_path: Path) -> None:
    assert shares(tmp_path, [None, None, None], [(1, 1, 1)]) == [None]


AMOUNT = st.integers(0, 1000)


@settings(max_examples=25, deadline=None)
@given(
    looks=st.lists(st.tuples(AMOUNT, AMOUNT), min_size=1, max_size=5),
    cpu_s=st.lists(st.lists(AMOUNT, min_size=6, max_size=6), min_size=1, max_size=3),
)
def test_what_attempts_are_told_is_no_more_than_was_drawn(
    tmp_path_factory: pytest.TempPathFactory, looks: list[tuple[int, int]], cpu_s: list[list[int]]
) -> None:
    directory = tmp_path_factory.getbasetemp() / "groups"
    drawn = [Drawn(float(energy_j), float(busy_s)) for energy_j, busy_s in looks]
    told = shares(directory, [None, *drawn], cpu_s)
    assert all(energy_j is not None and energy_j >= 0.0 for energy_j in told)
    assert sum(energy_j or 0.0 for energy_j in told) <= sum(each.energy_j for each in drawn) + 0.001 * len(told)
