"""The contract of an executor whose nodes have stores for datasets, as a check to run against any of them."""

from __future__ import annotations

import attrs
import pytest
import trio

from hal_core.errors import Unavailable, UserError
from hal_core.models.dataset import Dataset, DatasetId
from hal_core.models.job import JobId
from hal_core.models.message import CopiesReported, Message, NodeReported
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.planes import Executor, StoreExecutor
from hal_core.testing.check_planes import PATIENCE_S


async def check_store_executor(executor: Executor, node: NodeName, dataset: Dataset) -> None:
    """`node` is a node of the executor that can read a replica of the dataset, which has bytes, and has none yet."""
    assert isinstance(executor, StoreExecutor)
    heard: list[Message] = []
    more = trio.Event()

    async def report(message: Message) -> None:
        nonlocal more
        heard.append(message)
        more.set()
        more = trio.Event()

    def copies() -> tuple[DatasetId, ...]:
        return next((each.datasets for each in reversed(heard) if isinstance(each, CopiesReported)), ())

    first, second, third = (AttemptKey(JobId(number), 0, 1) for number in (1, 2, 3))
    async with trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE_S):
            await nursery.start(executor.run, report)
            while not any(isinstance(each, NodeReported) and each.node.name == node for each in heard):
                await more.wait()
            with pytest.raises(Unavailable):
                await executor.bring(NodeName("no-such-node"), first, [dataset])
            brought = await executor.bring(node, first, [dataset])
            assert (brought.bytes_moved, brought.bytes_saved) == (dataset.size_bytes, 0)
            again = await executor.bring(node, second, [dataset])
            assert (again.bytes_moved, again.bytes_saved) == (0, dataset.size_bytes), "brought twice"
            while dataset.id not in copies():
                await more.wait()
            files = tuple(attrs.evolve(each, sha256="0" * 64) for each in dataset.files)
            with pytest.raises(UserError) as caught:
                await executor.bring(node, third, [attrs.evolve(dataset, version="other", files=files)])
            assert dataset.name in str(caught.value), "the error does not name the dataset"
            assert copies() == (dataset.id,), "what has another digest passes for the dataset"
            await executor.forget(node, [first, second, third])
        nursery.cancel_scope.cancel()
