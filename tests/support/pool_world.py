"""A core with a pool of rented nodes, for tests without a provider: they say what it answers, and when."""

from __future__ import annotations

from typing import Any

import attrs

from hal_core.models.cloud_pool import CloudPool, PoolOffer
from hal_core.models.message import DecidePool, InstancesMade, MadeInstance
from hal_core.models.node import Cluster, Node, NodeName, Partition
from hal_core.models.pool_decision import PoolInstance
from hal_core.rules.pool_ledger import PoolLedger
from hal_engine_backfill.easy import Easy
from tests.support.core_world import ALL, GIB, World

BURST = "burst"
SMALL = "small"


def pool_cluster(own: int = 0, rented: int = 3, form: str = "c{}", **terms: Any) -> Cluster:
    """Own nodes n0 ... and rented ones c0 ..., all of 4 CPUs, in one partition."""
    names = [*(f"n{number}" for number in range(own)), *(form.format(number) for number in range(rented))]
    nodes = tuple(Node(NodeName(name), 4, 8 * GIB) for name in names)
    offer = PoolOffer(SMALL, 1.0, 100.0, rented, nodes=tuple(names[own:]))
    pool = CloudPool(BURST, (offer,), **{"count_max": rented, "value_per_hour": 1000.0, "cloud": "fake", **terms})
    return Cluster("test", nodes, (Partition(ALL, tuple(node.name for node in nodes), True),), pools=(pool,))


class PoolWorld(World):
    """`decide` asks the pool's rule; `make` answers its requests, with the lowest nodes that no instance is."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        super().__init__(cluster or pool_cluster(), Easy())
        self.made_count = 0

    @property
    def ledger(self) -> PoolLedger:
        return self.state.pools.pools[BURST].ledger

    @property
    def instances(self) -> list[PoolInstance]:
        return list(self.ledger.instances.values())

    def decide(self) -> PoolWorld:
        self.tell(DecidePool(BURST))
        return self

    def make(self) -> PoolWorld:
        for request in list(self.ledger.requests.values()):
            offer = self.state.cluster.pools[0].offer(request.offer)
            assert offer is not None, f"there is no offer {request.offer}"
            free = [node for node in offer.nodes if node not in self.state.pools.instance_of]
            nodes = free[: request.count]
            self.made_count += len(nodes)
            made = tuple(MadeInstance(f"i{self.made_count}-{node}", node) for node in nodes)
            self.tell(InstancesMade(BURST, request.token, made))
        return self

    def boot(self) -> PoolWorld:
        """Fresh machines report as the nodes that they were made for."""
        for each in self.instances:
            if each.node and each.state.value == "booting":
                node = self.nodes[NodeName(each.node)]
                self.nodes[NodeName(each.node)] = attrs.evolve(
                    node, parts={}, orders=[], boot_count=node.boot_count + 1
                )
                self.join(each.node)
        return self

    def serve(self) -> PoolWorld:
        """Rent what is needed, let it boot, and start what may start."""
        self.decide().make().boot().settle()
        return self
