"""What the processes of a job of several components are told about them: `HAL_COMPONENT` and its like. Pure."""

from __future__ import annotations

from hal_core.models.component import Component
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import JobSpec


def component_at(spec: JobSpec, rank: int) -> tuple[int, JobSpec | Component]:
    """The number of the component that the node of that rank serves, and what it asked for."""
    for number, part in enumerate(spec.parts[:-1]):
        if rank < part.node_count:
            return number, part
        rank -= part.node_count
    return len(spec.components), spec.parts[-1]


def component_variables(order: LaunchOrder, rank: int) -> dict[str, str]:
    """For the node of that rank: its own component, and where each of them is. Nothing for a job that has only one."""
    parts = order.spec.parts
    if len(parts) == 1:
        return {}
    own, _ = component_at(order.spec, rank)
    names = [name for name, _ in order.nodes]
    addresses = order.addresses or tuple(names)
    values = {"HAL_COMPONENT": str(own), "HAL_COMPONENT_COUNT": str(len(parts)), "SLURM_HET_SIZE": str(len(parts))}
    first_node = first_task = 0
    for number, part in enumerate(parts):
        stop = first_node + part.node_count
        count = sum(tasks for _, tasks in order.nodes[first_node:stop])
        node_list = ",".join(names[first_node:stop])
        told = {
            "NODE_LIST": node_list,
            "NODE_ADDRESSES": ",".join(addresses[first_node:stop]),
            "NODE_COUNT": str(part.node_count),
            "TASK_COUNT": str(count),
            "FIRST_TASK": str(first_task),
        }
        values |= {f"HAL_COMPONENT_{number}_{name}": value for name, value in told.items()}
        values[f"SLURM_JOB_NODELIST_HET_GROUP_{number}"] = node_list
        if number == own:
            values["HAL_COMPONENT_NODE_RANK"] = str(rank - first_node)
        first_node, first_task = stop, first_task + count
    return values
