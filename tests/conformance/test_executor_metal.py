"""The metal executor keeps the contract of the execution plane, with a real agent, spawner and supervisors."""

from __future__ import annotations

from pathlib import Path

from hal_core.models.node import NodeName
from hal_core.testing import check_executor
from tests.support.node import lone_agent, order


async def test_metal_executor_keeps_the_contract(tmp_path: Path) -> None:
    async with lone_agent(tmp_path) as node:
        quick = order(1, "exit 0", directory=tmp_path)
        endless = order(2, "exec sleep 1000", directory=tmp_path)
        await check_executor(node.executor, NodeName("n1"), quick, endless)
