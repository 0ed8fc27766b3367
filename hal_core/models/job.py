"""Jobs: what a user asked for, how its life is named, and how it may end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, NewType

import attrs

from hal_core.models.component import Component
from hal_core.models.end import (
    ACTIVE as ACTIVE,
    FINAL as FINAL,
    End as End,
    EndKind as EndKind,
    JobState as JobState,
)
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.ranges import Ranges
from hal_core.models.variant import VARIED, Variant

JobId = NewType("JobId", int)


TERMINAL: Final = "/dev/tty"
"""As the input of a job: it has a terminal, and somebody who attends to it, without whom it ends."""


class Spread(Enum):
    """How often the command runs within one job: once, once on each node, or once for each task."""

    JOB = "job"
    NODE = "node"
    TASK = "task"


@attrs.frozen(cache_hash=True)
class Shape:
    """What the engine must find room for. Jobs of equal shape share one answer in a pass.

    The amounts are for one node of the gang, and every node is given the same: what the fullest one needs.
    """

    partition: PartitionName
    node_count: int
    cpus: int
    memory_bytes: int
    gpus: int = 0
    gpu_type: str = ""
    generic: tuple[tuple[str, int], ...] = ()
    features: tuple[str, ...] = ()
    is_exclusive: bool = False
    communication: float = 0.0
    level: str = ""
    domain: str = ""
    is_level_required: bool = False
    gpu_milli: int = 0
    """These five as in JobSpec."""
    alternatives: tuple[tuple[str, ...], ...] = ()
    licences: tuple[tuple[str, int], ...] = ()
    """These two as well; licences are for the whole element, not for each node."""
    only_nodes: tuple[NodeName, ...] = ()
    excluded_nodes: tuple[NodeName, ...] = ()
    """These two, too."""
    also: tuple[Shape, ...] = ()
    """What the further components of the job need, each on nodes of its own: all start together, or none."""

    @property
    def parts(self) -> tuple[Shape, ...]:
        """A shape for each component; for nearly all jobs there is one, which is this."""
        return (attrs.evolve(self, also=(), licences=()), *self.also) if self.also else (self,)

    def assigned(self, numbers: Sequence[int]) -> Iterator[tuple[Shape, Sequence[int]]]:
        """Each component with its own of the nodes that the whole has, which stand in their order."""
        first = 0
        for part in self.parts:
            yield part, numbers[first : first + part.node_count]
            first += part.node_count

    @property
    def total_nodes(self) -> int:
        return sum([each.node_count for each in self.also], self.node_count)

    @property
    def total_cpus(self) -> int:
        return sum([each.cpus * each.node_count for each in self.also], self.cpus * self.node_count)

    @property
    def total_gpus(self) -> int:
        """Whole ones."""
        return sum([each.gpus * each.node_count for each in self.also], self.gpus * self.node_count)

    @property
    def gpus_asked(self) -> float:
        """On each node of this component, shares too."""
        return self.gpus + self.gpu_milli / 1000

    def without_cpus(self) -> Shape:
        """What is left of it where it stands aside."""
        also = tuple(each.without_cpus() for each in self.also)
        return attrs.evolve(self, cpus=0, is_exclusive=False, also=also)

    def takes(self, node: Node) -> bool:
        """Whether that node may serve, by its features and its name."""
        is_named = not self.only_nodes or node.name in self.only_nodes
        return is_named and node.name not in self.excluded_nodes and self.suits(node.features)

    def suits(self, features: tuple[str, ...]) -> bool:
        """Whether a node with these features may serve."""
        if not all(feature in features for feature in self.features):
            return False
        return not self.alternatives or any(all(each in features for each in some) for some in self.alternatives)


class DependencyKind(Enum):
    """What must have become of the other job; as in Slurm."""

    AFTER = "after"
    AFTEROK = "afterok"
    AFTERNOTOK = "afternotok"
    AFTERANY = "afterany"
    AFTERCORR = "aftercorr"
    SINGLETON = "singleton"


@attrs.frozen
class Dependency:
    """`job_id` is 0 for SINGLETON, which waits for earlier jobs of the same user and name."""

    kind: DependencyKind
    job_id: JobId = JobId(0)


@attrs.frozen
class ArraySpec:
    """Indices of a job array as ranges, and how many may run at once (None: no limit)."""

    indices: Ranges
    throttle: int | None = None


@attrs.frozen
class Owner:
    """Who a job belongs to. Comes from the caller's credentials, never from the request."""

    user: str
    uid: int
    gid: int


@attrs.frozen
class JobSpec:
    """What the user asked for. Never changes after submission.

    Exactly one of `script` and `command` is given. Amounts are per task or per node as their names say.
    """

    name: str
    partition: PartitionName
    script: str = ""
    """Text of a script that begins with `#!`; run as a file with `arguments`."""
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    node_count: int = 1
    task_count: int = 1
    cpus_per_task: int = 1
    memory_bytes_per_node: int = 0
    """0 means no request and no limit."""
    gpus_per_node: int = 0
    gpu_type: str = ""
    generic_per_node: tuple[tuple[str, int], ...] = ()
    features: tuple[str, ...] = ()
    is_exclusive: bool = False
    walltime_s: float | None = None
    working_directory: str = "/"
    environment: tuple[str, ...] = ()
    """`NAME=value` strings, in the order of the caller."""
    input_path: str = "/dev/null"
    output_pattern: str = ""
    error_pattern: str = ""
    """Patterns (`%j %A %a %x %N %u %%`) relative to the working directory; an empty error joins the output."""
    does_append: bool = False
    """Output files are appended to; otherwise truncated by the first attempt."""
    array: ArraySpec | None = None
    dependencies: tuple[Dependency, ...] = ()
    needs_all_dependencies: bool = True
    """True: every dependency must be satisfied; False: one suffices (`?` between them)."""
    priority: int = 0
    """Larger is earlier. Users may only lower it below 0 (nice); operators may raise it."""
    begin_time_s: float = 0.0
    begin: str = ""
    """What the user wrote for it (`now+1hour`), which is the same whenever it is read."""
    is_held: bool = False
    spread: Spread = Spread.JOB
    kill_grace_s: float = 5.0
    """Between SIGTERM and SIGKILL at a cancel or at the time limit."""
    inputs: tuple[str, ...] = ()
    """Datasets (names, paths, URLs) that must be there before the start."""
    account: str = ""
    comment: str = ""
    can_requeue: bool = False
    """When a node is lost, the whole job is queued again as its next attempt, once nothing of it can run any more."""
    communication: float = 0.0
    """The share of its run time in which its nodes exchange data when they are as close as they can be, 0 to 1."""
    level: str = ""
    """The level of the topology of which one domain is to hold the whole job; empty: as narrow as there is room."""
    domain: str = ""
    """The name of that domain; empty: any."""
    is_level_required: bool = False
    """It waits for that however long; otherwise only while waiting is expected to end it sooner."""
    gpu_milli: int = 0
    """A share of one device on each node, in thousandths, beside no whole ones; other jobs may have the rest of it."""
    qos: str = ""
    """The level of service; empty where the site has none."""
    licences: tuple[tuple[str, int], ...] = ()
    """Of the cluster's licences, for each element, sorted by name."""
    alternatives: tuple[tuple[str, ...], ...] = ()
    """Besides `features`, each node must have all of one of these; empty: nothing more is asked."""

    checkpoint_s: float | None = None
    """It saves its work so often; None: never. What it would lose if it were ended, as far as anybody knows."""
    reservation: str = ""
    """The reservation that it runs in; empty: outside of all of them."""
    outputs: tuple[str, ...] = ()
    """`name=path` or `name@version=path`: what becomes a dataset when it has ended well (models/dataset.py)."""
    elastic_weight: int = 0
    """It runs only in what others leave, gives way to them within `kill_grace_s`, and waits again. What there is of
    that is divided between such jobs by weight. 0: it is no such job."""
    variants: tuple[Variant, ...] = ()
    """All amounts that it may run with, the first asked first; empty: only with those that stand here."""
    variant: int = 0
    """Which of them stand here."""
    has_auto_memory: bool = False
    """It may first be given less than `memory_bytes_per_node`, and is queued again with all of it if that was not
    enough: it must bear a restart."""
    first_memory_bytes: int = 0
    """On each node, what its first attempt is given, if less: as it was expected to need at its submission."""
    only_nodes: tuple[NodeName, ...] = ()
    """It runs on all of these and no others; empty: on whichever."""
    excluded_nodes: tuple[NodeName, ...] = ()
    """It runs on none of these."""
    deadline_time_s: float | None = None
    """It is to have ended by then, for which nodes may be rented."""
    deadline: str = ""
    """What the user wrote for it, as `begin`."""
    value_per_hour: float | None = None
    """What it is worth that it starts an hour earlier, where nodes are rented; None: what the pool says."""

    mail_types: tuple[str, ...] = ()
    """When its owner is to be mailed, in Slurm's words (parsing/mail.py)."""
    mail_user: str = ""
    """An address, or a user at the site's domain; empty: its owner there."""
    components: tuple[Component, ...] = ()
    """Further nodes with other amounts, which the job has together with those that stand here, or not at all."""

    @property
    def parts(self) -> tuple[JobSpec | Component, ...]:
        """What stands here, then each of the components, in the order of their ranks."""
        return (self, *self.components)

    @property
    def as_components(self) -> tuple[Component, ...]:
        """For a job of several, all of them, the first too; else none."""
        first = Component(**{field.name: getattr(self, field.name) for field in attrs.fields(Component)})
        return (first, *self.components) if self.components else ()

    @property
    def total_nodes(self) -> int:
        return sum([each.node_count for each in self.components], self.node_count)

    @property
    def total_tasks(self) -> int:
        return sum([each.task_count for each in self.components], self.task_count)

    @property
    def total_cpus(self) -> int:
        """As they were asked for; nodes whose tasks are fewer are given as many as the others."""
        return sum([each.task_count * each.cpus_per_task for each in self.parts])

    @property
    def most_memory_bytes(self) -> int:
        """On any of its nodes; 0: no limit on some."""
        each = [part.memory_bytes_per_node for part in self.parts]
        return max(each) if all(each) else 0

    @property
    def total_gpus(self) -> int:
        """Whole ones."""
        return sum([each.node_count * each.gpus_per_node for each in self.parts])

    def in_variant(self, number: int) -> JobSpec:
        """The same job with the amounts of one of its variants."""
        return attrs.evolve(self.with_amounts(self.variants[number]), variant=number)

    def with_amounts(self, amounts: Variant) -> JobSpec:
        partition = PartitionName(amounts.partition) or self.partition
        return attrs.evolve(self, partition=partition, **{name: getattr(amounts, name) for name in VARIED})

    @property
    def run_ratio(self) -> float:
        """How long it is expected to run as it stands here, as a share of what it takes in its first variant."""
        return self.variants[self.variant].run_ratio if self.variants else 1.0

    def shape(self) -> Shape:
        """What the engine must find room for, for one element."""
        tasks_per_node = -(-self.task_count // self.node_count)
        return Shape(
            partition=self.partition,
            node_count=self.node_count,
            cpus=tasks_per_node * self.cpus_per_task,
            memory_bytes=self.first_memory_bytes or self.memory_bytes_per_node,
            gpus=self.gpus_per_node,
            gpu_type=self.gpu_type,
            generic=self.generic_per_node,
            features=self.features,
            is_exclusive=self.is_exclusive,
            communication=self.communication,
            level=self.level,
            domain=self.domain,
            is_level_required=self.is_level_required,
            gpu_milli=self.gpu_milli,
            alternatives=self.alternatives,
            licences=self.licences,
            only_nodes=self.only_nodes,
            excluded_nodes=self.excluded_nodes,
            also=tuple(map(self._shape_of, self.components)) if self.components else (),
        )

    def _shape_of(self, component: Component) -> Shape:
        return Shape(
            partition=self.partition,
            node_count=component.node_count,
            cpus=-(-component.task_count // component.node_count) * component.cpus_per_task,
            memory_bytes=component.memory_bytes_per_node,
            gpus=component.gpus_per_node,
            gpu_type=component.gpu_type,
            gpu_milli=component.gpu_milli,
            features=component.features,
            alternatives=component.alternatives,
            is_exclusive=self.is_exclusive,
            excluded_nodes=self.excluded_nodes,
        )
