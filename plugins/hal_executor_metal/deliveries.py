"""What was ordered from the stores of nodes and is not answered yet. Who waits is told, also that the node is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from hal_core import AttemptKey, Brought, Delivery, NodeName, Refused, Unavailable
from hal_executor_metal.store_sums import StoreSums


class Expected:
    """One delivery."""

    def __init__(self) -> None:
        self.said: Delivery | None = None
        self.is_settled = trio.Event()

    async def wait(self) -> Brought:
        """Raises Refused with what the node says, or Unavailable if it went out of contact."""
        await self.is_settled.wait()
        if self.said is None:
            raise Unavailable("the node went out of contact")
        if self.said.fault:
            raise Refused(self.said.fault)
        return self.said.brought


class Deliveries:
    """By node and attempt. An order that is repeated has one answer, for all who wait."""

    def __init__(self) -> None:
        self._expected: dict[NodeName, dict[AttemptKey, list[Expected]]] = {}
        self.sums = StoreSums()

    @contextmanager
    def expected(self, node: NodeName, key: AttemptKey) -> Iterator[Expected]:
        """Until the block ends."""
        of_node = self._expected.setdefault(node, {})
        delivery = Expected()
        of_node.setdefault(key, []).append(delivery)
        try:
            yield delivery
        finally:
            if delivery in of_node.get(key, ()):
                of_node[key].remove(delivery)
            if not of_node.get(key):
                of_node.pop(key, None)

    def arrive(self, node: NodeName, said: Delivery) -> None:
        """What nobody waits for any more is no matter."""
        if not said.fault:
            self.sums.add(said.brought)
        for delivery in self._expected.get(node, {}).pop(said.key, ()):
            delivery.said = said
            delivery.is_settled.set()

    def lose(self, node: NodeName) -> None:
        """The node is out of contact."""
        for waiting in self._expected.pop(node, {}).values():
            for delivery in waiting:
                delivery.is_settled.set()
