"""Nodes that a job names: it runs on all of these and no others (`--nodelist`), or on none of those (`--exclude`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.models.node import Node, NodeName, Partition
from hal_core.models.plural import plural
from hal_core.parsing.layout import NodeClass, Place, group_nodes, without
from hal_core.parsing.text import shown
from hal_core.parsing.values import Wishes

Nodes = Mapping[NodeName, Node]
"""All nodes of the cluster."""


def with_named_nodes(wishes: Wishes, partition: Partition, nodes: Nodes, place: Place) -> Wishes:
    """The same wishes, with the number of nodes that a list of them means.

    Raises InvalidInput for names that are unknown, outside of the partition or excluded, and for another number.
    """
    for option, names in (("nodelist", wishes.nodelist), ("exclude", wishes.exclude)):
        for name in names:
            if name not in nodes:
                text = f"no node {shown(name)}{did_you_mean(name, nodes)}; `hal nodes` lists them"
                raise InvalidInput([Problem(place(option), text)])
    wanted = wishes.nodelist
    if not wanted:
        return wishes
    members, excluded = frozenset(partition.nodes), frozenset(wishes.exclude)
    for name in wanted:
        if name not in members:
            text = f"node {name!r} is not in partition {partition.name!r}; choose another with --partition"
            raise InvalidInput([Problem(place("nodelist"), text)])
        if name in excluded:
            raise InvalidInput([Problem(place("exclude"), f"node {name!r} is in --nodelist; name it in one of them")])
    if wishes.nodes and wishes.nodes != (len(wanted),):
        text = f"the job runs on all of its {plural(len(wanted), 'node')}, and --nodes says otherwise; leave it away"
        raise InvalidInput([Problem(place("nodelist"), text)])
    return attrs.evolve(wishes, nodes=(len(wanted),))


def classes_left(
    wishes: Wishes, partition: Partition, nodes: Nodes, classes: Sequence[NodeClass]
) -> Sequence[NodeClass]:
    """The nodes of a partition that may serve, by class. `classes`: all of the partition's."""
    if wishes.nodelist:
        return group_nodes(nodes[name] for name in wishes.nodelist)
    if not wishes.exclude:
        return classes
    members = frozenset(partition.nodes)
    return without(classes, [nodes[name] for name in wishes.exclude if name in members])
