"""Nodes by status: a small fold of the events. No metrics library, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hal_core import (
    ClusterDefined,
    NodeDrained,
    NodeJoined,
    NodeName,
    NodeResumed,
    NodeStatus,
    NodeSuspected,
    NodeWentDown,
    Standing,
)


class NodeCounts:
    """One method for each kind of event that matters."""

    def __init__(self) -> None:
        self._status_of: dict[NodeName, NodeStatus] = {}
        self._drained: set[NodeName] = set()

    def begin(self, standing: Standing) -> None:
        self._status_of = {name: status for name, status, _ in standing.nodes}
        self._drained = {name for name, _, is_drained in standing.nodes if is_drained}

    def defined(self, event: ClusterDefined) -> None:
        known = self._status_of
        self._status_of = {node.name: known.get(node.name, NodeStatus.UNKNOWN) for node in event.cluster.nodes}
        self._drained &= self._status_of.keys()

    def joined(self, event: NodeJoined) -> None:
        self._status_of[event.node.name] = NodeStatus.UP

    def suspected(self, event: NodeSuspected) -> None:
        self._status_of[event.node] = NodeStatus.SUSPECT

    def went_down(self, event: NodeWentDown) -> None:
        self._status_of[event.node] = NodeStatus.DOWN

    def drained(self, event: NodeDrained) -> None:
        self._drained.add(event.node)

    def resumed(self, event: NodeResumed) -> None:
        self._drained.discard(event.node)

    def by_status(self) -> Mapping[NodeStatus, int]:
        return Counter(self._status_of.values())

    @property
    def drained_count(self) -> int:
        return len(self._drained)
