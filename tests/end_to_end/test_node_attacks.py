"""What a hostile user tries on a node: to hold up, outlive, escape, forge, and to make root touch what it should not.

The races run longer in `python -m tests.campaigns.attacks`.
"""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from hal_core.agent.launcher import records
from hal_core.models.effect import CancelOrder, LaunchOrder
from hal_core.models.job import EndKind, Owner
from hal_core.models.node import NodeName
from hal_core.models.placement import Share
from tests.support.attackers import SYSTEM_CALLS, attacker, held_back, launch_refused
from tests.support.needs import need
from tests.support.neighbours import BOMBS, MIB
from tests.support.node import PATIENCE_S, RealNode, key_of, order, real_node
from tests.support.races import FORBIDDEN, OutputRace, Victim, scripts_attack

N1 = NodeName("n1")
USER = "halattack"
OTHER = "halvictim"
RACES = 300


@attrs.define
class Site:
    """A directory with the homes of two users."""

    directory: Path
    user: pwd.struct_passwd
    other: pwd.struct_passwd

    def home(self, user: pwd.struct_passwd) -> Path:
        return self.directory / user.pw_name

    def order(self, job_id: int, script: str, user: pwd.struct_passwd | None = None, **given: Any) -> LaunchOrder:
        user = user or self.user
        owner = Owner(user.pw_name, user.pw_uid, user.pw_gid)
        return order(job_id, script, directory=self.home(user), owner=owner, **given)

    def bystander(self, **given: Any) -> LaunchOrder:
        """Job 1, of the other user. It ends with 4 when it is let go."""
        return self.order(1, "until [ -e go ]; do sleep 0.1; done; exit 4", self.other, **given)

    def let_go(self) -> None:
        (self.home(self.other) / "go").touch()


@pytest.fixture(scope="module")
def users() -> Iterator[list[pwd.struct_passwd]]:
    need("" if os.geteuid() == 0 else "takes root, to be other users")
    for name in (USER, OTHER):
        subprocess.run(["userdel", "--force", name], check=False, capture_output=True)  # of a run that was killed
        subprocess.run(["useradd", "--no-create-home", "--user-group", name], check=True)
    yield [pwd.getpwnam(name) for name in (USER, OTHER)]
    for name in (USER, OTHER):
        subprocess.run(["userdel", "--force", name], check=True)


@pytest.fixture
def site(users: list[pwd.struct_passwd]) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as name:
        made = Site(Path(name), *users)
        made.directory.chmod(0o711)
        for user in users:
            made.home(user).mkdir(mode=0o755)
            os.chown(made.home(user), user.pw_uid, user.pw_gid)
        yield made


def processes_of(user: pwd.struct_passwd) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.stat().st_uid == user.pw_uid:
                found.append(entry.name)
        except OSError:
            continue
    return found


# -- S9: the user is taken on, or nothing happens ---------------------------------------------------------------------

LIES = [
    *({name: number} for name in ("setgroups", "setresgid", "setresuid") for number in (errno.EAGAIN, errno.EPERM, 0)),
    {"setgroups": 0, "setresgid": 0, "setresuid": 0},
    {"setuid": 0},  # Back to root, it says, were possible.
]


@pytest.mark.parametrize("calls", LIES, ids=str)
def test_a_job_never_begins_with_rights_that_are_not_its_users(site: Site, calls: dict[str, int]) -> None:
    """The kernel refuses, or says yes and does nothing."""
    need("" if SYSTEM_CALLS else "the numbers of system calls of this machine are not known here")
    output = site.home(site.user) / "out"
    assert launch_refused(site.user, calls, output).startswith(f"cannot become user {USER}: ")
    assert not output.exists()
    assert launch_refused(site.user, {}, output) == ""
    assert f"uid={site.user.pw_uid}({USER})" in output.read_text()


async def test_a_node_that_cannot_become_the_user_says_so(site: Site) -> None:
    need("" if SYSTEM_CALLS else "the numbers of system calls of this machine are not known here")
    lie = [sys.executable, "-m", "tests.support.attackers", "setresuid=EAGAIN"]
    async with real_node(site.directory, before=lie) as node:
        end = (await node.run(site.order(1, "id > was-here"))).end
        assert end is not None
        assert (end.kind, end.detail) == (
            EndKind.LAUNCH_FAILED,
            f"cannot become user {USER}: Resource temporarily unavailable",
        )
    assert list(site.home(site.user).iterdir()) == []


# -- S10, S11: root touches nothing that a user can change ------------------------------------------------------------


def test_no_race_about_the_output_path_reaches_what_is_not_the_users(site: Site) -> None:
    race = OutputRace(site.user, site.home(site.user), Victim(site.directory / "victim"))
    counts = race.run(RACES)
    assert counts["escaped"] == 0
    assert counts["ran"] > 0
    assert counts["refused"] > 0, "the race was never won, so it proves nothing"


async def test_what_no_output_can_be_is_said(site: Site) -> None:
    home, victim = site.home(site.user), Victim(site.directory / "victim")
    os.mkfifo(home / "fifo")
    os.chown(home / "fifo", site.user.pw_uid, site.user.pw_gid)
    (home / "folder").mkdir()
    (home / "link").symlink_to(victim.file)
    os.link(victim.file, home / "hard link")
    cases = {
        "/etc/cron.d/hal-attack": "Permission denied",
        "/dev/tcp/127.0.0.1/80": "No such file or directory",
        str(victim.file): "Permission denied",
        "fifo": "is a FIFO that nobody reads",
        "folder": "Is a directory",
        "link": "is a symbolic link",
        "hard link": "Permission denied",
        "x" * 5000: "File name too long",
        "/".join(["x" * 100] * 50): "File name too long",
        "/proc/1/mem": "Permission denied",
        "/dev/tty": "a device that is not there",
        "/dev/mem": "Permission denied",
    }
    async with real_node(site.directory) as node:
        for number, (path, text) in enumerate(cases.items(), start=1):
            end = (await node.run(site.order(number, "exit 0", output_pattern=path))).end
            assert end is not None
            assert end.kind is EndKind.LAUNCH_FAILED, path
            assert text in end.detail, (path, end.detail)
            assert len(end.detail) < 1000
    victim.check()


async def test_what_root_removes_is_only_its_own(site: Site) -> None:
    """While scripts of 60 jobs are written and removed, their owner tries to exchange them for something else."""
    home, victim = site.home(site.user), Victim(site.directory / "victim")
    async with real_node(site.directory) as node:
        scripts = node.state / records.SCRIPTS
        with attacker(site.user, scripts_attack(scripts, home, victim, 60)):
            orders = [site.order(number, "sleep 0.05; exit 3", output_pattern="/dev/null") for number in range(1, 61)]
            await node.executor.launch(N1, orders)
            for given in orders:
                end = (await node.reports.end_of(given.key)).end
                assert end is not None
                assert (end.kind, end.exit_code) in ((EndKind.EXITED, 3), (EndKind.LAUNCH_FAILED, 126)), end
        assert list(scripts.iterdir()) == []
    assert not (home / FORBIDDEN).exists(), (home / FORBIDDEN).read_text()
    assert (home / "stolen").exists(), "the attack came never to a script, so it proves nothing"
    victim.check()


# -- S15, S16: a job ends when it has to, and harms only itself -------------------------------------------------------

STORM = """#!{python}
import os, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() and os.fork():
    open("begun", "w").close()
    while True:
        signal.pause()
while True:  # a thousand times a second another process, in another session, with another name, and orphaned
    if os.fork():
        os._exit(0)
    os.setsid()
    with open("/proc/self/comm", "w") as name:
        name.write("kworker/0:1")
"""
WAYS = {
    "as this machine can": [],
    "without a kill by cgroup": ["unshare", "--mount", "sh", "-c", 'umount -R -l /sys/fs/cgroup; exec "$@"', "sh"],
}


@pytest.mark.parametrize("before", WAYS.values(), ids=WAYS.keys())
async def test_nothing_outlives_a_job_of_another_user(site: Site, before: list[str]) -> None:
    async with real_node(site.directory, before=before) as node:
        without = [line for line in node.reports.nodes[-1].missing if "kill by cgroup" in line]
        assert bool(without) == bool(before)
        await node.start(bystander := site.bystander())
        storm = site.order(2, STORM.format(python="/usr/bin/python3"), kill_grace_s=0.0)
        await node.start(storm)
        node.tree.until("it storms", (site.home(site.user) / "begun").exists, PATIENCE_S)
        await node.executor.cancel(N1, [CancelOrder(storm.key, 0.0)])
        end = (await node.reports.end_of(storm.key)).end
        assert end is not None
        assert (end.kind, end.detail) == (EndKind.CANCELLED, "")
        assert processes_of(site.user) == []
        site.let_go()
        after = (await node.reports.end_of(bystander.key)).end
        assert after is not None
        assert after.exit_code == 4


async def test_whoever_exceeds_a_limit_harms_only_itself(site: Site) -> None:
    share = Share(N1, 1, "0", memory_bytes=64 * MIB)
    async with real_node(site.directory, "--pids-max", "30") as node:
        await node.start(bystander := site.bystander(share=share))
        bombs = [
            site.order(
                number,
                f"#!/usr/bin/python3\n{text}\n",
                share=share,
                walltime_s=1.0,
                kill_grace_s=0.0,
            )
            for number, text in enumerate(BOMBS.values(), start=2)
        ]
        await node.executor.launch(N1, bombs)
        ends = {}
        for name, given in zip(BOMBS, bombs, strict=True):
            end = (await node.reports.end_of(given.key)).end
            assert end is not None
            ends[name] = end.kind
        assert processes_of(site.user) == []
        assert ends.pop("memory") in (EndKind.OUT_OF_MEMORY, EndKind.TIME_LIMIT)
        assert ends.pop("memory of many") in (EndKind.OUT_OF_MEMORY, EndKind.TIME_LIMIT)
        assert set(ends.values()) == {EndKind.TIME_LIMIT}
        site.let_go()
        after = (await node.reports.end_of(bystander.key)).end
        assert after is not None
        assert (after.kind, after.exit_code) == (EndKind.EXITED, 4)


# -- S17, S18: only an attempt's own processes are signalled, and nobody forges its end -------------------------------


async def test_a_record_that_names_a_foreign_process_costs_it_nothing(site: Site) -> None:
    """As after a crash, when the number of a supervisor has come round again: nobody holds the lock."""
    async with real_node(site.directory) as node:
        with subprocess.Popen(["sleep", "1000"]) as stranger:  # noqa: ASYNC220  nobody waits for it
            lines = records.claim_line(records.boot_id()) + records.run_line(stranger.pid)
            node.kill(node.spawner_pid())
            (node.state / records.CLAIMS / "7.0.1").write_bytes(lines)
            await node.executor.cancel(N1, [CancelOrder(key_of(7), 0.0)])
            await node.run(site.order(8, "exit 0"))
            end = (await node.reports.end_of(key_of(7))).end
            assert end is not None
            assert end.kind is EndKind.SUPERVISOR_LOST
            assert stranger.poll() is None
            stranger.kill()


def kill_all() -> None:
    os.kill(-1, 9)


def stop_all() -> None:
    os.kill(-1, 19)


@pytest.mark.parametrize("act", [kill_all, stop_all])
async def test_whoever_signals_everything_of_its_own_cannot_forge_an_end(site: Site, act: Callable[[], None]) -> None:
    async with real_node(site.directory) as node:
        with attacker(site.user, act):
            orders = [site.order(number, "exit 0", walltime_s=0.5, kill_grace_s=0.0) for number in range(1, 9)]
            await node.executor.launch(N1, orders)
            ends = [(await node.reports.end_of(given.key)).end for given in orders]
        kinds = {end.kind for end in ends if end is not None}
        assert kinds <= {EndKind.SIGNALLED, EndKind.TIME_LIMIT, EndKind.EXITED}
        assert all(end.exit_code == 0 for end in ends if end is not None and end.kind is EndKind.EXITED)
        after = (await node.run(site.order(9, "exit 6"))).end
        assert after is not None
        assert after.exit_code == 6


async def test_a_job_that_is_held_up_before_it_begins_ends_all_the_same(site: Site) -> None:
    """A file server that does not answer, or the user's own stop: neither limit nor cancel must wait for it."""
    program = site.home(site.user) / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    os.chown(program, site.user.pw_uid, site.user.pw_gid)
    async with real_node(site.directory) as node:
        with held_back(site.user, program):
            limited = await node.run(site.order(1, "", command=(str(program),), walltime_s=0.5))
            assert limited.end is not None
            assert (limited.end.kind, limited.start_time_s) == (EndKind.TIME_LIMIT, None)
            assert "held up" in limited.end.detail
        with held_back(site.user, program):
            await node.executor.launch(N1, [given := site.order(2, "", command=(str(program),))])
            node.tree.until("it is being launched", lambda: has_run_line(node, given), PATIENCE_S)
            await node.executor.cancel(N1, [CancelOrder(given.key, 5.0)])
            cancelled = await node.reports.end_of(given.key)
            assert cancelled.end is not None
            assert (cancelled.end.kind, cancelled.start_time_s) == (EndKind.CANCELLED, None)
        assert processes_of(site.user) == []


def has_run_line(node: RealNode, given: LaunchOrder) -> bool:
    path = node.state / records.CLAIMS / str(given.key)
    return path.exists() and node.record(given.key).supervisor_pid != 0
