"""What a job can and cannot do on a node: its tree, its limits, its user, its files and its environment."""

from __future__ import annotations

import codecs
import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio

from hal_core.agent.__main__ import main as agent_main
from hal_core.agent.book import Book
from hal_core.agent.launcher.spawner import main as spawner_main
from hal_core.models.job import ArraySpec, EndKind, Owner, Spread
from hal_core.models.message import PartStatus
from hal_core.models.node import NodeName
from hal_core.models.placement import Share
from hal_executor_metal.executor import MetalExecutor
from tests.support.needs import need
from tests.support.node import RealNode, Reports, key_of, order, real_node

N1 = NodeName("n1")
MIB = 1 << 20


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RealNode]:
    async with real_node(tmp_path) as running:
        yield running


def need_root() -> None:
    need("" if os.geteuid() == 0 else "this test changes users and makes cgroups: it needs root")


ESCAPES = {
    "background": "sleep 1000 & exit 0",
    "setsid": "setsid sleep 1000 & exit 0",
    "double fork": "(setsid sh -c 'setsid sleep 1000 & sleep 1000' &) ; sleep 0.1; exit 0",
    "ignores signals": "sh -c \"trap '' TERM HUP INT; sleep 1000\" & exit 0",
    "stopped": "sh -c 'kill -STOP $$' & sleep 0.1; exit 0",
    "new parents all the time": "f() { (sleep 0.01; f) & }; f; f; f; sleep 0.1; exit 0",
}


@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES.keys())
async def test_nothing_of_a_job_outlives_its_end(node: RealNode, script: str) -> None:
    status = await node.run(order(1, script, directory=node.directory))
    assert status.end is not None
    assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 0)
    assert node.jobs_left() == []


async def test_memory_limit_ends_as_out_of_memory_with_the_peak(node: RealNode) -> None:
    need_root()
    eat = f"exec {sys.executable} -c 'a = bytearray(300 << 20)'"
    share = Share(N1, 1, "0", memory_bytes=64 * MIB)
    status = await node.run(order(1, eat, directory=node.directory, share=share))
    assert status.end is not None
    assert status.end.kind is EndKind.OUT_OF_MEMORY
    assert status.end.peak_memory_bytes is not None
    assert 60 * MIB <= status.end.peak_memory_bytes <= 64 * MIB
    assert "67108864" in status.end.detail


async def test_job_within_its_memory_limit_has_its_peak_measured(node: RealNode) -> None:
    need_root()
    eat = f"exec {sys.executable} -c 'a = bytearray(30 << 20)'"
    share = Share(N1, 1, "0", memory_bytes=64 * MIB)
    status = await node.run(order(1, eat, directory=node.directory, share=share))
    assert status.end is not None
    assert status.end.exit_code == 0
    assert status.end.peak_memory_bytes is not None
    assert 30 * MIB <= status.end.peak_memory_bytes < 64 * MIB


async def test_process_limit_stops_a_fork_bomb(tmp_path: Path) -> None:
    need_root()
    async with real_node(tmp_path, "--pids-max", "20") as node:
        bomb = f"exec {sys.executable} -c 'import os\nwhile True: os.fork()' 2>/dev/null"
        status = await node.run(order(1, bomb, directory=tmp_path, walltime_s=1.0, kill_grace_s=0.0))
        assert status.end is not None
        assert status.end.kind in (EndKind.TIME_LIMIT, EndKind.EXITED)
        assert node.jobs_left() == []
        after = await node.run(order(2, "exit 0", directory=tmp_path))
        assert after.end is not None
        assert after.end.exit_code == 0


async def test_job_is_bound_to_the_cpus_of_its_share(node: RealNode) -> None:
    usable = sorted(os.sched_getaffinity(0))
    need("" if len(usable) >= 2 else "this test needs two CPUs")
    script = f"exec {sys.executable} -c 'import os; print(sorted(os.sched_getaffinity(0)))'"
    await node.run(order(1, script, directory=node.directory, share=Share(N1, 1, "1")))
    assert json.loads((node.directory / "hal-1.out").read_text()) == [usable[1]]


async def test_cpu_quota_is_enforced_by_cgroup(tmp_path: Path) -> None:
    need_root()
    async with real_node(tmp_path, "--limit-cpus") as node:
        spin = f"exec {sys.executable} -c 'import os, time\nos.sched_setaffinity(0, range(os.cpu_count()))\n"
        spin += "os.fork(); os.fork()\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\n"
        spin += "try:\n while True: os.wait()\nexcept ChildProcessError: pass'"
        status = await node.run(order(1, spin, directory=tmp_path))
        assert status.end is not None
        assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 0)
        assert status.end.cpu_s is not None
        assert status.end.cpu_s < 1.4, "four processes used more than the one CPU of their share"


async def test_environment_is_exactly_the_users_and_what_hal_adds(node: RealNode) -> None:
    given = ("PATH=/usr/bin:/bin", "EMPTY=", "EQUALS=a=b", "LATIN=\u00e9", "HAL_JOB_ID=forged", "LINES=1\n2")
    spec = {"environment": given, "command": ("/usr/bin/env", "-0")}
    await node.run(order(7, "", directory=node.directory, **spec))
    strings = (node.directory / "hal-7.out").read_bytes().split(b"\0")[:-1]
    found = dict(string.split(b"=", 1) for string in strings)
    assert len(found) == len(strings)
    ours = {name for name in found if name.startswith((b"HAL_", b"SLURM"))}
    assert {name: found[name] for name in found.keys() - ours} == {
        b"PATH": b"/usr/bin:/bin",
        b"EMPTY": b"",
        b"EQUALS": b"a=b",
        b"LATIN": b"\xc3\xa9",
        b"LINES": b"1\n2",
    }
    assert found[b"HAL_JOB_ID"] == b"7"
    assert found[b"HAL_NODE_NAME"] == b"n1"


async def test_output_follows_the_pattern_and_errors_go_where_they_should(node: RealNode) -> None:
    fields = {"array": ArraySpec(((0, 9),)), "output_pattern": "%x-%A-%a-%N-%%", "error_pattern": "err-%j"}
    await node.run(order(5, "echo out; echo err >&2", directory=node.directory, index=3, **fields))
    assert (node.directory / "test-5-3-n1-%").read_text() == "out\n"
    assert (node.directory / "err-5_3").read_text() == "err\n"


async def test_joined_output_keeps_its_order_and_a_later_attempt_appends(node: RealNode) -> None:
    (node.directory / "hal-1.out").write_text("old\n")
    await node.run(order(1, "echo a; echo b >&2; echo c", directory=node.directory))
    assert (node.directory / "hal-1.out").read_text() == "a\nb\nc\n"
    await node.run(order(1, "echo again", directory=node.directory, attempt=2))
    assert (node.directory / "hal-1.out").read_text() == "a\nb\nc\nagain\n"


async def test_input_file_is_read_and_is_empty_by_default(node: RealNode) -> None:
    (node.directory / "input").write_text("given\n")
    await node.run(order(1, "cat", directory=node.directory, input_path="input"))
    await node.run(order(2, "cat; echo end", directory=node.directory))
    assert (node.directory / "hal-1.out").read_text() == "given\n"
    assert (node.directory / "hal-2.out").read_text() == "end\n"


async def test_tasks_run_once_each_with_their_ranks(node: RealNode) -> None:
    fields = {"spread": Spread.TASK, "task_count": 5, "node_count": 2, "nodes": ((NodeName("n0"), 2), (N1, 3))}
    await node.run(
        order(1, "echo $HAL_TASK_RANK $HAL_LOCAL_RANK", directory=node.directory, share=Share(N1, 3, "0"), **fields)
    )
    assert sorted((node.directory / "hal-1.out").read_text().splitlines()) == ["2 0", "3 1", "4 2"]


async def test_first_task_that_fails_ends_the_others_and_is_the_end(node: RealNode) -> None:
    script = "[ $HAL_TASK_RANK = 1 ] && exit 9; exec sleep 1000"
    fields = {"spread": Spread.TASK, "task_count": 3, "nodes": ((N1, 3),), "share": Share(N1, 3, "0")}
    status = await node.run(order(1, script, directory=node.directory, **fields))
    assert status.end is not None
    assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 9)
    assert node.jobs_left() == []


@pytest.fixture
def ignored_hangup() -> Iterator[None]:
    """As nohup does for what it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("ignored_hangup")
async def test_script_gets_its_arguments_and_no_descriptors_or_signal_settings(node: RealNode) -> None:
    script = f"#!{sys.executable}\nimport os, sys, signal\n"
    script += "print(sys.argv[1:], sorted(map(int, os.listdir('/proc/self/fd')))[:-1])\n"
    script += "print(signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getsid(0) == os.getpid())\n"
    script += "print([l for l in open('/proc/self/status') if l.startswith('SigIgn')])\n"
    await node.run(order(1, script, directory=node.directory, arguments=("a b", "")))
    argv, signals, ignored = (node.directory / "hal-1.out").read_text().splitlines()
    assert argv == "['a b', ''] [0, 1, 2]"
    assert signals == "set() True"
    # Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 are the C library's own.
    assert int(ignored.split("\\t")[1].split("\\n")[0], 16) & 0x7FFFFFFF == 1 << 12 | 1 << 24


@pytest.fixture
def user() -> Iterator[pwd.struct_passwd]:
    """A user for whom jobs are started by an agent that runs as root."""
    need_root()
    subprocess.run(["useradd", "--no-create-home", "--user-group", "halnode"], check=True)
    yield pwd.getpwnam("halnode")
    subprocess.run(["userdel", "--force", "halnode"], check=True)  # what was killed may not be quite gone


@pytest.fixture
def open_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory below which another user can be given one; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def test_job_of_another_user_runs_as_that_user_and_nothing_else(
    open_directory: Path, user: pwd.struct_passwd
) -> None:
    home = open_directory / "home"
    home.mkdir(mode=0o700)
    os.chown(home, user.pw_uid, user.pw_gid)
    owner = Owner("halnode", user.pw_uid, user.pw_gid)
    async with real_node(open_directory) as node:
        script = "grep -E '^(Uid|Gid|Groups|CapEff|CapPrm)' /proc/self/status; cat \"$0\" >/dev/null || exit 4"
        status = await node.run(order(1, script, directory=home, owner=owner))
        assert status.end is not None
        assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 0), status
        output = home / "hal-1.out"
        assert output.stat().st_uid == user.pw_uid
        words = {line.split(":")[0]: line.split()[1:] for line in output.read_text().splitlines()}
        assert words["Uid"] == [str(user.pw_uid)] * 4
        assert words["Gid"] == [str(user.pw_gid)] * 4
        assert words["Groups"] == [str(user.pw_gid)]
        assert {words["CapEff"][0], words["CapPrm"][0]} == {"0" * 16}


async def test_job_of_another_user_cannot_touch_its_supervisor_or_record(
    open_directory: Path, user: pwd.struct_passwd
) -> None:
    home = open_directory / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    owner = Owner("halnode", user.pw_uid, user.pw_gid)
    async with real_node(open_directory) as node:
        script = f"trap '' TERM; kill -9 $PPID; ls {node.state}/claims; cat {node.state}/claims/1.0.1\n"
        script += f"echo x >> {node.state}/claims/1.0.1; echo 1.0.1 > {node.state}/hints; kill -9 -1; exit 5"
        status = await node.run(order(1, script, directory=home, owner=owner))
        assert status.end is not None
        assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 5)
        assert "claims': Permission denied" in (home / "hal-1.out").read_text()


async def test_files_of_other_users_cannot_be_reached_through_output_paths(
    open_directory: Path, user: pwd.struct_passwd
) -> None:
    home = open_directory / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    victim = open_directory / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    owner = Owner("halnode", user.pw_uid, user.pw_gid)
    async with real_node(open_directory) as node:
        for number, pattern in enumerate([str(victim), "/etc/halnode", "../victim"], start=1):
            status = await node.run(order(number, "exit 0", directory=home, owner=owner, output_pattern=pattern))
            assert status.end is not None
            assert status.end.kind is EndKind.LAUNCH_FAILED
            assert "Permission denied" in status.end.detail
    assert victim.read_text() == "precious"


async def test_groups_come_from_the_node_and_never_from_the_order(
    open_directory: Path, user: pwd.struct_passwd
) -> None:
    async with real_node(open_directory) as node:
        given = order(1, "id", directory="/", owner=Owner("halnode", user.pw_uid, 0), output_pattern="/dev/null")
        status = await node.run(given)
        unknown = attrs.evolve(given, key=key_of(2), owner=Owner("ghost", 4_000_000, 4_000_000))
        stranger = await node.run(unknown)
    assert status.end is not None
    assert (status.end.kind, status.end.detail) == (
        EndKind.LAUNCH_FAILED,
        "user halnode is not in group 0 on this node",
    )
    assert stranger.end is not None
    assert stranger.end.detail == "uid 4000000 is not known on this node"


async def _serve_as_user(directory: Path) -> dict[str, PartStatus]:
    """The daemon's side of the next test: what became of a job of root and of one of the user."""
    reports = Reports()
    executor = MetalExecutor.from_options({"socket": str(directory / "agents.sock")})
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.run, reports.report)
        await reports.until(lambda: bool(reports.nodes))
        missing = reports.nodes[-1].missing
        assert any("jobs of other users" in line for line in missing)
        assert any("memory limits" in line for line in missing)
        of_root = order(1, "id", directory="/", output_pattern="/dev/null", owner=Owner("root", 0, 0))
        share = Share(N1, 1, "0", memory_bytes=64 * MIB)
        me = Owner("halnode", os.geteuid(), os.getegid())
        own = order(2, "setsid sleep 1000 & exit 3", directory=directory, share=share, owner=me)
        await executor.launch(N1, [of_root, own])
        ends = {"root": await reports.end_of(of_root.key), "own": await reports.end_of(own.key)}
        nursery.cancel_scope.cancel()
    return ends


def test_agent_without_root_says_so_and_refuses_other_users(open_directory: Path, user: pwd.struct_passwd) -> None:
    """All of it in forks of this process that became the user: the interpreter's files may be closed to that user."""
    os.chown(open_directory, user.pw_uid, user.pw_gid)
    state = open_directory / "n1"
    words = ["--name", "n1", "--cpus", "1", "--memory-bytes", str(MIB), "--directory", str(state)]
    children: list[int] = []
    for name in ("ascii", "unicode_escape"):
        codecs.lookup(name)  # Loaded now, while we can read the files of the standard library.

    def as_user(act: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
                act()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - a fork must not return into pytest
                traceback.print_exc()
            finally:
                os._exit(1)
        children.append(pid)
        return pid

    def daemon() -> None:
        ends = trio.run(_serve_as_user, open_directory)
        refused, accepted = ends["root"].end, ends["own"].end
        assert refused is not None
        assert "only root could start a job of uid 0" in refused.detail
        assert accepted is not None
        assert accepted.exit_code == 3

    as_user(lambda: Book(state))
    assert os.waitpid(children.pop(), 0)[1] == 0
    try:
        spawner = as_user(lambda: spawner_main([str(state)]))
        as_user(lambda: agent_main([*words, "--socket", str(open_directory / "agents.sock")]))
        asked = as_user(daemon)
        status = os.waitpid(asked, 0)[1]
        children.remove(asked)
        assert status == 0, "see the traceback of the forked daemon above"
        assert spawner in children
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_state_of_the_agent_is_closed_to_others(tmp_path: Path) -> None:
    """Modes of everything below the state directory, without a running agent."""
    Book(tmp_path / "n1")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "n1").iterdir()}
    assert modes == {"claims": 0o700, "scripts": 0o711, "hints": 0o600}
