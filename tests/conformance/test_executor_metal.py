"""The metal executor keeps the contract of the execution plane, with a real agent, spawner and supervisors."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hal_core.models.dataset import DataFile, Dataset
from hal_core.models.node import NodeName
from hal_core.testing import check_executor, check_store_executor
from tests.support.node import lone_agent, order


async def test_metal_executor_keeps_the_contract(tmp_path: Path) -> None:
    async with lone_agent(tmp_path) as node:
        quick = order(1, "exit 0", directory=tmp_path)
        endless = order(2, "exec sleep 1000", directory=tmp_path)
        await check_executor(node.executor, NodeName("n1"), quick, endless)


async def test_its_nodes_have_stores(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    dataset = Dataset("genome", "1", (DataFile("a", 5, hashlib.sha256(b"first").hexdigest()),), (str(tmp_path),))
    async with lone_agent(tmp_path) as node:
        await check_store_executor(node.executor, NodeName("n1"), dataset)
