"""What attempts use, by the files of their cgroups and by their processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hal_core.agent.use import PARTS_MAX, UseMeter
from hal_core.models.job import JobId
from hal_core.models.placement import AttemptKey
from hal_core.models.use import PartUse

KEY = AttemptKey(JobId(3), 0, 1)
MIB = 1 << 20


def write_group(base: Path, cpu_us: int, memory_bytes: int, memory_file: str = "memory.current") -> None:
    directory = base / str(KEY)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cpu.stat").write_text(f"usage_usec {cpu_us}\nuser_usec 0\nsystem_usec 0\n")
    (directory / memory_file).write_text(f"{memory_bytes}\n")


def test_rates_come_from_the_files_of_the_group(tmp_path: Path) -> None:
    meter = UseMeter({"unified": str(tmp_path), "memory": str(tmp_path)})
    write_group(tmp_path, 1_000_000, MIB)
    assert meter.measure([(KEY, 0)], 100.0) is None, "at first there is no rate"
    write_group(tmp_path, 31_000_000, 5 * MIB)
    use = meter.measure([(KEY, 0)], 110.0)
    assert use is not None
    assert (use.period_s, use.parts) == (10.0, (PartUse(KEY, 3.0, 5 * MIB),))
    other = AttemptKey(JobId(4), 0, 1)
    write_group(tmp_path, 31_000_000, 2 * MIB)
    use = meter.measure([(KEY, 0), (other, 0)], 120.0)
    assert use is not None
    assert use.parts == (PartUse(KEY, 0.0, 2 * MIB),), "the other was not there before"


def test_memory_of_the_first_hierarchy_beside_times_of_the_second(tmp_path: Path) -> None:
    """The hybrid layout."""
    unified, memory = tmp_path / "unified", tmp_path / "memory"
    meter = UseMeter({"unified": str(unified), "memory": str(memory)})
    for at, cpu_us in enumerate((0, 500_000)):
        write_group(unified, cpu_us, 0)
        write_group(memory, 0, 7 * MIB, "memory.usage_in_bytes")
        use = meter.measure([(KEY, 0)], float(at))
    assert use is not None
    assert use.parts == (PartUse(KEY, 0.5, 7 * MIB),)


def test_what_has_just_gone_uses_nothing(tmp_path: Path) -> None:
    meter = UseMeter({"unified": str(tmp_path), "memory": str(tmp_path)})
    for at in range(2):
        use = meter.measure([(KEY, 2**22 + 1)], float(at))
    assert use is not None
    assert use.parts == (PartUse(KEY, 0.0, 0),)


def test_a_node_with_very_many_attempts_says_a_bounded_number(tmp_path: Path) -> None:
    meter = UseMeter({"unified": str(tmp_path), "memory": str(tmp_path)})
    running = [(AttemptKey(JobId(number), 0, 1), 2**22 + 1) for number in range(1, PARTS_MAX + 100)]
    for at in range(2):
        use = meter.measure(running, float(at))
    assert use is not None
    assert len(use.parts) == PARTS_MAX


@contextmanager
def supervisor(program: str) -> Iterator[int]:
    """A process with a child below a child that runs the program; its process id."""
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    try:
        yield process.pid
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
        process.wait(60)


def until_measured(pid: int, cpus: float, memory_bytes: int) -> PartUse:
    """The first look that shows at least so much of both; a minute is far more than it takes."""
    meter, deadline_s = UseMeter({}), time.monotonic() + 60.0
    while time.monotonic() < deadline_s:
        use = meter.measure([(KEY, pid)], time.monotonic())
        if use is not None and use.parts and use.parts[0].cpus > cpus and use.parts[0].memory_bytes >= memory_bytes:
            return use.parts[0]
    raise AssertionError(f"never more than {cpus} CPUs and {memory_bytes} bytes below process {pid}; last {use}")


def test_without_a_group_all_below_the_supervisor_is_added_up() -> None:
    with supervisor("data = b'x' * (50 << 20)\nwhile True: pass") as pid:
        assert until_measured(pid, 0.0, 50 * MIB).memory_bytes >= 50 * MIB
