"""What an agent tells of its records: nothing passes for told before there is somebody to tell it to."""

from __future__ import annotations

import os
import random
import select
from pathlib import Path

import trio
import trio.testing

from hal_core.agent.agent import Agent
from hal_core.agent.launcher import records
from hal_core.agent.options import AgentOptions
from hal_core.models.job import EndKind, JobId
from hal_core.models.node import Node, NodeName
from hal_core.models.placement import AttemptKey
from hal_core.wire.agents import AgentLink

KEY = AttemptKey(JobId(1), 0, 1)


async def test_what_ends_between_hello_and_welcome_is_told_after_it(tmp_path: Path) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def dial() -> trio.abc.Stream:
        return theirs

    state = tmp_path / "n1"
    options = AgentOptions(Node(NodeName("n1"), 4, 1 << 30), state, tmp_path / "agents.sock")
    agent = Agent(options, dial, random.Random(1))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent._follow_hints)
        nursery.start_soon(agent._stay_connected)
        link = AgentLink(ours)
        assert (await link.introduce()).parts == ()
        lines = [records.claim_line(records.boot_id()), records.run_line(4711), records.start_line(5.0)]
        end = records.End("supervisor_lost", 9.0, "its supervisor was killed")
        (state / records.CLAIMS / str(KEY)).write_bytes(b"".join([*lines, records.end_line(end)]))
        hints = os.open(state / "hints", os.O_RDWR | os.O_NONBLOCK)
        os.write(hints, f"{KEY}\n".encode())
        while select.select([hints], [], [], 0)[0]:  # Until the agent has taken it.
            await trio.lowlevel.checkpoint()
        os.close(hints)
        await trio.testing.wait_all_tasks_blocked()
        await link.welcome(1)
        with trio.fail_after(60):
            (part,) = await link.receive()
        assert part.key == KEY
        assert part.end is not None
        assert part.end.kind is EndKind.SUPERVISOR_LOST
        nursery.cancel_scope.cancel()
