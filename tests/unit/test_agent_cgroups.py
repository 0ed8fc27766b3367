"""Choosing hierarchies and setting limits, against a directory that looks like each kind of machine.

Real limits are tested in tests/end_to_end/test_node_containment.py; a pure v2 machine can only be imitated here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hal_core.agent.hierarchies import bases, missing
from hal_core.agent.launcher.cgroups import Group

V1 = ("memory", "cpu", "pids", "freezer")


def v1_machine(root: Path, controllers: tuple[str, ...] = V1) -> str:
    for controller in controllers:
        (root / controller / "box").mkdir(parents=True)
    return "".join(f"cgroup {root}/{controller} cgroup rw,{controller} 0 0\n" for controller in controllers)


def v2_machine(root: Path) -> str:
    """A pure v2 tree, with a group as the kernel would fill it (made in advance, because nothing fills it here)."""
    group = root / "unified" / "hal-x"
    group.mkdir(parents=True)
    for directory in (root / "unified", group):
        (directory / "cgroup.subtree_control").touch()
    (group / "cgroup.kill").touch()
    return f"cgroup2 {root}/unified cgroup2 rw 0 0\n"


def test_v1_limits_go_below_our_own_group(tmp_path: Path) -> None:
    own = "".join(f"{n}:{name}:/box\n" for n, name in enumerate(V1))
    cgroups = bases(v1_machine(tmp_path), own, "hal-x")
    assert missing(cgroups) == []
    assert cgroups["memory"] == f"{tmp_path}/memory/box/hal-x"


def test_hybrid_takes_limits_from_v1_and_the_kill_from_v2(tmp_path: Path) -> None:
    mounts = v1_machine(tmp_path) + v2_machine(tmp_path).replace("/hal-x", "")
    (tmp_path / "unified" / "cgroup.subtree_control").unlink()
    cgroups = bases(mounts, "0::/\n", "hal-x")
    assert missing(cgroups) == []
    assert "unified" not in cgroups["memory"]
    assert set(cgroups) == {*V1, "unified"}


def test_pure_v2_enables_its_controllers(tmp_path: Path) -> None:
    cgroups = bases(v2_machine(tmp_path), "0::/\n", "hal-x")
    assert cgroups == dict.fromkeys(("unified", "memory", "cpu", "pids"), f"{tmp_path}/unified/hal-x")
    assert missing(cgroups) == []


def test_machine_without_cgroups_says_all_that_is_missing() -> None:
    cgroups = bases("tmpfs /tmp tmpfs rw 0 0\n", "", "hal-x")
    assert len(missing(cgroups)) == 4
    group = Group(cgroups, "1.0.1")
    assert group.create(1 << 20, 1, 1) == []
    assert (group.oom_kill_count(), group.peak_memory_bytes()) == (0, None)
    group.kill()
    group.remove()


@pytest.mark.parametrize(("events", "peak"), [("low 0\noom 2\noom_kill 3\n", "4096\n")])
def test_v2_counters_are_read(tmp_path: Path, events: str, peak: str) -> None:
    cgroups = bases(v2_machine(tmp_path), "0::/\n", "hal-x")
    directory = tmp_path / "unified" / "hal-x" / "1.0.1"
    directory.mkdir()
    (directory / "memory.events").write_text(events)
    (directory / "memory.peak").write_text(peak)
    group = Group(cgroups, "1.0.1")
    assert (group.oom_kill_count(), group.peak_memory_bytes()) == (3, 4096)
