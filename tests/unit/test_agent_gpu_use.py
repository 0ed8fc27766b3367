"""What GPUs do, as nvidia-smi tells it. The program here is a script that answers as the real one does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from hal_core.agent.gpu_use import FAILURES_MAX, PROGRAM, DeviceUse, GpuMeter
from hal_core.agent.launcher.tree import children
from hal_core.agent.use import UseMeter
from hal_core.models.job import End, EndKind, JobId
from hal_core.models.message import PartStatus
from hal_core.models.placement import AttemptKey

KEY = AttemptKey(JobId(3), 0, 1)
DEADLINE_S = 60.0


def until(holds: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end_s, f"{what} within {DEADLINE_S} s"


@contextmanager
def nvidia_smi(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Iterator[GpuMeter]:
    program = directory / PROGRAM
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    meter = GpuMeter(every_s=1.0)
    yield meter
    meter.close()


def test_devices_that_tell_are_known_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'echo "$*" > asked; printf "0, 50, 100.5\\n1, [N/A], 7\\n0, 100, 199.5\\n2, 0, [N/A]\\n"; exec sleep 600'
    monkeypatch.chdir(tmp_path)
    with nvidia_smi(tmp_path, monkeypatch, script) as meter:
        found: dict[int, DeviceUse] = {}

        def is_said() -> bool:
            found.update(meter.look())
            return found.keys() == {0, 2}

        until(is_said, "nothing was said of the devices 0 and 2")
        assert found[0] in [(0.5, 100.5), (0.75, 150.0), (1.0, 199.5)]
        assert found[2] == (0.0, None)
        assert meter.look() == {}, "it is told once"
        asked = (tmp_path / "asked").read_text()
        assert "--query-gpu=index,utilization.gpu,power.draw " in asked
        assert asked.endswith("-l 1\n")


def test_a_program_that_fails_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with nvidia_smi(tmp_path, monkeypatch, f"echo x >> {tmp_path}/starts; exit 9") as meter:

        def starts() -> int:
            assert meter.look() == {}
            file = tmp_path / "starts"
            return len(file.read_text().split()) if file.exists() else 0

        until(lambda: starts() >= FAILURES_MAX, f"it was not started {FAILURES_MAX} times")
        for _ in range(100):
            starts()
        assert starts() == FAILURES_MAX


def test_without_the_program_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert GpuMeter(5.0).look() == {}


def _says_gpus(pid: int) -> bool:
    return b"HAL_GPUS=" in Path(f"/proc/{pid}/environ").read_bytes()


class Known(GpuMeter):
    """Devices whose use does not change."""

    def __init__(self, shares: Mapping[int, float]) -> None:
        super().__init__(1.0)
        self._shares = shares

    def look(self) -> Mapping[int, DeviceUse]:
        return {index: DeviceUse(share, 200 * share) for index, share in self._shares.items()}


@pytest.mark.parametrize(
    ("gpus", "shares", "wanted"),
    [
        ("0,1", {0: 0.5, 1: 1.0, 2: 0.9}, 1.5),
        ("0,1", {0: 0.5}, None),
        ("0,1", {}, None),
        ("0,x", {0: 0.5}, None),  # what a process says of itself is its user's to choose
        ("9" * 5000, {0: 0.5}, None),
    ],
)
def test_an_attempt_has_the_devices_that_its_processes_were_given(
    gpus: str, shares: dict[int, float], wanted: float | None
) -> None:
    supervisor = subprocess.Popen(["sh", "-c", f"HAL_GPUS={gpus} sleep 600 & wait"], start_new_session=True)
    try:
        until(lambda: any(map(_says_gpus, children(supervisor.pid))), "the process was not told its devices")
        meter, found = UseMeter({}, Known(shares)), []

        def is_measured() -> bool:
            use = meter.measure([(KEY, supervisor.pid)], time.monotonic())
            found[:] = [part.gpus for part in use.parts] if use is not None else []
            return found == [wanted]

        until(is_measured, f"{wanted} was not measured, but {found}")
        ended = PartStatus(KEY, start_time_s=100.0, end_time_s=110.0, end=End(EndKind.EXITED, 0))
        energy_j = None if wanted is None else pytest.approx(10 * 200 * wanted)
        told = meter.shown(ended)
        assert told.end is not None
        assert (told.end.gpus_busy, told.end.energy_j) == (wanted, energy_j)
        assert meter.shown(ended) == told, "whenever it is asked"
        assert meter.shown(PartStatus(KEY, start_time_s=100.0)).end is None
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(supervisor.pid)], check=False)
        supervisor.wait(DEADLINE_S)
