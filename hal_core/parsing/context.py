"""What a job request is read against: the cluster as far as a request can speak of it, and the site's habits."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import UTC, tzinfo

import attrs

from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.parsing.layout import NodeClass, group_nodes


@attrs.frozen
class ParseContext:
    """Made once for a configuration; `attrs.evolve(context, now_s=...)` for each request."""

    partitions: Mapping[PartitionName, Partition]
    classes: Mapping[PartitionName, tuple[NodeClass, ...]]
    now_s: float = 0.0
    zone: tzinfo = UTC
    levels: tuple[str, ...] = ()
    """Names of the levels of the topology, the widest first."""
    output_default: str = "hal-%j.out"
    array_output_default: str = "hal-%A_%a.out"
    nodes: Mapping[NodeName, Node] = attrs.field(factory=dict)
    can_rent: bool = False
    """There are pools of nodes for money."""
    storeless: frozenset[PartitionName] = frozenset()
    """Partitions of nodes that cannot say what a job has left."""
    handed_on: frozenset[PartitionName] = frozenset()
    """Partitions with nodes that another scheduler gives out."""
    rented: frozenset[NodeName] = frozenset()
    """Nodes that are there only while a pool rents them."""
    mail_domain: str | None = None
    """Where the site's users have their addresses; empty if nobody knows, None if nobody mails about single jobs."""

    @classmethod
    def of_cluster(cls, cluster: Cluster, now_s: float = 0.0, zone: tzinfo = UTC) -> ParseContext:
        nodes = {node.name: node for node in cluster.nodes}
        partitions = {partition.name: partition for partition in cluster.partitions}
        classes = {name: group_nodes(nodes[node] for node in each.nodes) for name, each in partitions.items()}
        rented = frozenset(NodeName(name) for pool in cluster.pools for offer in pool.offers for name in offer.nodes)
        levels = tuple(level.name for level in cluster.topology.levels) if cluster.topology else ()
        return cls(partitions, classes, now_s, zone, levels, nodes=nodes, can_rent=bool(cluster.pools), rented=rented)

    def with_stores(self, cluster: Cluster, executors: Set[str]) -> ParseContext:
        """The same, for a cluster of which the nodes of these executors have stores."""
        having = {node.name for node in cluster.nodes if node.executor in executors}
        storeless = frozenset(each.name for each in cluster.partitions if each.nodes and having.isdisjoint(each.nodes))
        handed_on = frozenset(each.name for each in cluster.partitions if not having.issuperset(each.nodes))
        return attrs.evolve(self, storeless=storeless, handed_on=handed_on)
