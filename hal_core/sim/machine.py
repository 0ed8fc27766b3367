"""The cluster of a replay: its nodes and partitions, and how the processors of a trace's job become a shape on it."""

from __future__ import annotations

from hal_core.models.job import Shape
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.packing import Packing
from hal_core.models.plan import NodeColumns
from hal_core.models.room import Room
from hal_core.rules.room_columns import RoomColumns
from hal_core.sim.trace import TraceJob


class Machine:
    """A cluster, idle at first. Jobs go to the partition that they name, if there is one, else to the default one.

    In a pool, which is all that the header of a trace describes, a job takes its processors and nothing else.
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
        self._cpus_per_node = {
            name: max(cluster.nodes[number].cpu_count for number in numbers)
            for name, numbers in self.partition_numbers.items()
            if numbers
        }
        self._is_pool = False
        self._shapes: dict[tuple[str, int, int, int, int], Shape] = {}
        self._known: dict[Shape, Shape] = {}
        """Equal shapes are the same object: engines tell them apart by identity."""

    @classmethod
    def pool(cls, processors: int) -> Machine:
        """What the header of a trace describes: so many processors, each as good as any other."""
        node = Node(NodeName("pool"), processors, 0)
        partition = Partition(PartitionName("all"), (node.name,), is_default=True)
        machine = cls(Cluster("trace", (node,), (partition,)))
        machine._is_pool = True
        return machine

    @property
    def is_pool(self) -> bool:
        return self._is_pool

    @property
    def processors(self) -> int:
        return sum(node.cpu_count for node in self.cluster.nodes)

    def idle_room(self) -> Room:
        return Room.of_rows(self.packing, [self.packing.idle_row(number) for number in range(len(self.cluster.nodes))])

    def columns(self, room: Room) -> NodeColumns:
        """The same as columns, for engines that do not use the room."""
        return RoomColumns(self.cluster.nodes, room)

    def shape_of(self, job: TraceJob) -> Shape:
        """As many nodes as it had, or as the processors need; each with an equal share."""
        key = (job.partition, job.processors, job.memory_bytes, job.node_count, job.gpus)
        shape = self._shapes.get(key)
        if shape is None:
            made = self._make_shape(job)
            shape = self._shapes[key] = self._known.setdefault(made, made)
        return shape

    def _make_shape(self, job: TraceJob) -> Shape:
        if self._is_pool:
            return Shape(self.default.name, 1, job.processors, 0)
        name = PartitionName(job.partition)
        if name not in self._cpus_per_node:
            name = self.default.name
        node_count = max(job.node_count, -(-job.processors // self._cpus_per_node[name]))
        cpus = -(-job.processors // node_count)
        return Shape(name, node_count, cpus, job.memory_bytes * cpus, gpus=-(-job.gpus // node_count))
