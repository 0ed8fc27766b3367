"""The cluster of a replay: its nodes and partitions, and how the processors of a trace's job become a shape on it."""

from __future__ import annotations

from hal_core.models.job import Shape
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import NodeColumns
from hal_core.models.room import Room
from hal_core.sim.room_columns import RoomColumns
from hal_core.sim.trace import TraceJob


class Machine:
    """A cluster, idle at first. Jobs go to its default partition, as nodes of equal width.

    On a single node a job takes its processors and no memory: a trace's machine is a pool of processors.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.partitions = {partition.name: partition for partition in cluster.partitions}
        number_of = {node.name: number for number, node in enumerate(cluster.nodes)}
        self.partition_numbers = {
            partition.name: sorted(number_of[name] for name in partition.nodes) for partition in cluster.partitions
        }
        self.packing = Packing(cluster.nodes, self.partition_numbers, cluster.topology)
        self.default = next((each for each in cluster.partitions if each.is_default), cluster.partitions[0])
        default_nodes = [cluster.nodes[number] for number in self.partition_numbers[self.default.name]]
        self._cpus_per_node = max(node.cpu_count for node in default_nodes)
        self._is_pool = len(cluster.nodes) == 1
        self._shapes: dict[tuple[int, int], Shape] = {}

    @classmethod
    def pool(cls, processors: int) -> Machine:
        """What the header of a trace describes: so many processors, each as good as any other."""
        node = Node(NodeName("pool"), processors, 0)
        partition = Partition(PartitionName("all"), (node.name,), is_default=True)
        return cls(Cluster("trace", (node,), (partition,)))

    @property
    def processors(self) -> int:
        return sum(node.cpu_count for node in self.cluster.nodes)

    def idle_room(self) -> Room:
        return Room.of_rows(self.packing, [self.packing.idle_row(number) for number in range(len(self.cluster.nodes))])

    def columns(self, room: Room) -> NodeColumns:
        """The same as columns, for engines that do not use the room."""
        return RoomColumns(self.cluster.nodes, room)

    def shape_of(self, job: TraceJob) -> Shape:
        """As many nodes as the processors need, each with an equal share."""
        memory_bytes = 0 if self._is_pool else job.memory_bytes
        key = (job.processors, memory_bytes)
        shape = self._shapes.get(key)
        if shape is None:
            node_count = -(-job.processors // self._cpus_per_node)
            cpus = -(-job.processors // node_count)
            shape = Shape(self.default.name, node_count, cpus, memory_bytes * cpus)
            self._shapes[key] = shape
        return shape
