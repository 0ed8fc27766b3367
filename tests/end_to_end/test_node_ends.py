"""Every way in which an attempt can end on a node, with real processes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hal_core.models.effect import CancelOrder
from hal_core.models.job import End, EndKind
from hal_core.models.node import NodeName
from tests.support.node import RealNode, key_of, order, real_node

N1 = NodeName("n1")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RealNode]:
    async with real_node(tmp_path) as running:
        yield running


async def end_of(node: RealNode, script: str, **fields: Any) -> End:
    status = await node.run(order(1, script, directory=node.directory, **fields))
    assert status.end is not None
    return status.end


@pytest.mark.parametrize("code", [0, 1, 3, 255])
async def test_exit_code_is_exact(node: RealNode, code: int) -> None:
    end = await end_of(node, f"exit {code}")
    assert (end.kind, end.exit_code, end.signal) == (EndKind.EXITED, code, None)
    assert end.cpu_s is not None
    assert end.peak_memory_bytes is not None


@pytest.mark.parametrize("number", [1, 9, 11, 15])
async def test_signal_is_exact(node: RealNode, number: int) -> None:
    end = await end_of(node, f"kill -{number} $$")
    assert (end.kind, end.exit_code, end.signal) == (EndKind.SIGNALLED, None, number)


async def test_times_are_those_of_the_node(node: RealNode) -> None:
    status = await node.run(order(1, "sleep 0.2", directory=node.directory))
    assert status.start_time_s is not None
    assert status.end_time_s is not None
    assert 0.2 <= status.end_time_s - status.start_time_s < 5


async def test_time_limit_ends_the_job(node: RealNode) -> None:
    end = await end_of(node, "exec sleep 1000", walltime_s=0.2)
    assert (end.kind, end.signal) == (EndKind.TIME_LIMIT, 15)


async def test_time_limit_kills_what_ignores_the_warning(node: RealNode) -> None:
    end = await end_of(node, "trap '' TERM; sleep 1000 & sleep 1000", walltime_s=0.2, kill_grace_s=0.2)
    assert (end.kind, end.signal) == (EndKind.TIME_LIMIT, 9)


async def test_cancel_ends_the_job_and_says_how_it_went(node: RealNode) -> None:
    given = order(
        1, "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done", directory=node.directory
    )
    await node.start(given)
    node.tree.until("the job is ready", lambda: (node.directory / "hal-1.out").read_text() == "ready\n", 30)
    await node.executor.cancel(N1, [CancelOrder(given.key, 20.0)])
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert (status.end.kind, status.end.exit_code) == (EndKind.CANCELLED, 0)
    # The whole tree is asked to end, so the shell may also say that its `sleep` was.
    assert (node.directory / "hal-1.out").read_text().splitlines()[-1] == "saved"


async def test_cancel_with_no_grace_kills_at_once(node: RealNode) -> None:
    given = order(1, "trap '' TERM; sleep 1000 & wait; sleep 1000", directory=node.directory, kill_grace_s=900.0)
    await node.start(given)
    await node.executor.cancel(N1, [CancelOrder(given.key, 0.0)])
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert (status.end.kind, status.end.signal) == (EndKind.CANCELLED, 9)


async def test_second_cancel_can_shorten_the_grace(node: RealNode) -> None:
    given = order(1, "trap '' TERM; sleep 1000 & wait; sleep 1000", directory=node.directory)
    await node.start(given)
    await node.executor.cancel(N1, [CancelOrder(given.key, 900.0)])
    await node.executor.cancel(N1, [CancelOrder(given.key, 0.1)])
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert status.end.kind is EndKind.CANCELLED


async def test_what_was_cancelled_before_its_launch_never_runs(node: RealNode) -> None:
    given = order(1, "touch ran", directory=node.directory)
    await node.executor.cancel(N1, [CancelOrder(given.key, 5.0)])
    status = await node.reports.end_of(given.key)
    await node.executor.launch(N1, [given])
    await node.run(order(2, "exit 0", directory=node.directory))
    assert status.end is not None
    assert (status.end.kind, status.start_time_s) == (EndKind.CANCELLED, None)
    assert not (node.directory / "ran").exists()


async def test_killed_supervisor_is_a_kind_of_its_own_and_takes_the_tree_with_it(node: RealNode) -> None:
    given = order(1, "setsid sleep 1000 & sleep 1000", directory=node.directory)
    await node.start(given)
    node.kill(node.record(given.key).supervisor_pid)
    status = await node.reports.end_of(given.key)
    assert status.end is not None
    assert status.end.kind is EndKind.SUPERVISOR_LOST
    assert node.jobs_left() == []


LAUNCH_FAILURES: list[tuple[dict[str, Any], str, int | None]] = [
    ({"working_directory": "/no/such"}, "working directory /no/such: No such file or directory", None),
    ({"command": ("no-such-command",)}, "command no-such-command: not found in PATH on this node", 127),
    ({"command": ("/no/such/command",)}, "command /no/such/command: No such file or directory", 127),
    ({"command": ("/etc/passwd",)}, "command /etc/passwd: Permission denied", 126),
    ({"command": ("./garbage",)}, "command ./garbage: is neither a program for this machine nor begins with #!", 126),
    ({"script": "#!/no/such/python\n"}, "the interpreter /no/such/python, which does not exist on this node", 127),
    ({"output_pattern": "missing/out"}, "missing/out: No such file or directory", None),
    ({"output_pattern": "link"}, "link: is a symbolic link", None),
    ({"output_pattern": "fifo"}, "fifo: is a FIFO that nobody reads", None),
    ({"output_pattern": "."}, ": Is a directory", None),
    ({"error_pattern": "x" * 5000}, "File name too long", None),
    ({"input_path": "/no/such/input"}, "input file /no/such/input: No such file or directory", None),
    ({"output_pattern": "%q"}, "unknown pattern '%q'", None),
    ({"command": ("echo", "a" * 200_000)}, "arguments and environment together are too long", 126),
    ({"command": ("echo", "a\0b")}, "has a NUL byte", None),
]


@pytest.mark.parametrize(("fields", "text", "code"), LAUNCH_FAILURES, ids=[text for _, text, _ in LAUNCH_FAILURES])
async def test_failed_launch_says_why(node: RealNode, fields: dict[str, Any], text: str, code: int | None) -> None:
    (node.directory / "link").symlink_to("/dev/null")
    os.mkfifo(node.directory / "fifo")
    garbage = node.directory / "garbage"
    garbage.write_bytes(b"\x01\x02\x03")
    garbage.chmod(0o755)
    fields = dict(fields)
    directory = fields.pop("working_directory", node.directory)
    script = fields.pop("script", "exit 0")
    status = await node.run(order(1, script, directory=directory, **fields))
    assert status.end is not None
    assert (status.end.kind, status.end.exit_code) == (EndKind.LAUNCH_FAILED, code)
    assert text in status.end.detail
    assert status.start_time_s is None


async def test_other_part_of_a_gang_without_a_process_ends_at_once(node: RealNode) -> None:
    gang = ((NodeName("n0"), 1), (N1, 1))
    status = await node.run(order(1, "touch ran", directory=node.directory, nodes=gang, node_count=2))
    assert status.end is not None
    assert (status.end.kind, status.end.exit_code) == (EndKind.EXITED, 0)
    assert not (node.directory / "ran").exists()


async def test_forgotten_records_are_removed_and_only_after_the_end(node: RealNode) -> None:
    await node.run(order(1, "exit 0", directory=node.directory))
    running = order(2, "exec sleep 1000", directory=node.directory)
    await node.start(running)
    await node.executor.forget(N1, [key_of(1), running.key])
    await node.run(order(3, "exit 0", directory=node.directory))
    # Both were told at once; a record goes a moment after that, when the spawner has read all that it was sent.
    node.tree.until("one record goes", lambda: sorted(os.listdir(node.state / "claims")) == ["2.0.1", "3.0.1"], 60)
    assert os.listdir(node.state / "scripts") == ["2.0.1"]
