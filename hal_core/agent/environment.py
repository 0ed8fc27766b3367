"""The environment of a job's processes: exactly the user's, plus what HAL says about the job. Pure.

`HAL_*` is HAL's own; the `SLURM_*` names are those that scripts commonly read, with the same meaning. HAL's values win
over variables of the same name that the user sent; only of the names that belong to nobody (MASTER_ADDR, WORLD_SIZE and
their like) the user's do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hal_core.agent.components import component_at, component_variables
from hal_core.agent.store_files import COPIES
from hal_core.models.dataset import REFERENCE
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import Spread
from hal_core.models.node import Node
from hal_core.models.ranges import members, parse_ranges
from hal_core.models.trace import VARIABLE, context_text, run_span_id

USER_BYTES_MAX = 65_536
"""Of the user's variables in the environment of a prolog or epilog."""
PORT_FIRST, PORT_COUNT, PORT_STEP = 20_000, 12_000, 7
"""Below the ports that Linux gives to outgoing connections."""


def part_environment(order: LaunchOrder, node: Node) -> list[bytes]:
    """What all processes of this part have in common."""
    spec, share, key = order.spec, order.share, order.key
    names = [name for name, _ in order.nodes]
    counts = [count for _, count in order.nodes]
    rank = names.index(node.name)
    task_count = sum(counts)
    gpus = ",".join(str(index) for index in members(parse_ranges(share.gpus)))
    node_list = ",".join(names)
    job_id = str(key.job_id)
    values = {
        "HAL_JOB_ID": job_id,
        "HAL_JOB_NAME": spec.name,
        "HAL_ATTEMPT": str(key.attempt),
        "HAL_NODE_NAME": node.name,
        "HAL_NODE_LIST": node_list,
        "HAL_NODE_COUNT": str(len(names)),
        "HAL_NODE_RANK": str(rank),
        "HAL_TASK_COUNT": str(task_count),
        "HAL_CPUS_PER_TASK": str(component_at(spec, rank)[1].cpus_per_task),
        "HAL_MEMORY_BYTES": str(share.memory_bytes),
        "HAL_GPUS": gpus,
        "HAL_SUBMIT_DIR": spec.working_directory,
        "SLURM_JOB_ID": job_id,
        "SLURM_JOBID": job_id,
        "SLURM_JOB_NAME": spec.name,
        "SLURM_JOB_NODELIST": node_list,
        "SLURM_NODELIST": node_list,
        "SLURM_JOB_NUM_NODES": str(len(names)),
        "SLURM_NNODES": str(len(names)),
        "SLURM_NODEID": str(rank),
        "SLURMD_NODENAME": node.name,
        "SLURM_NTASKS": str(task_count),
        "SLURM_NPROCS": str(task_count),
        "SLURM_CPUS_PER_TASK": str(component_at(spec, rank)[1].cpus_per_task),
        "SLURM_CPUS_ON_NODE": str(sum(1 for _ in members(parse_ranges(share.cpus)))),
        "SLURM_TASKS_PER_NODE": _tasks_per_node(counts),
        "SLURM_JOB_PARTITION": spec.partition,
        "SLURM_JOB_USER": order.owner.user,
        "SLURM_JOB_UID": str(order.owner.uid),
        "SLURM_SUBMIT_DIR": spec.working_directory,
        "SLURM_RESTART_COUNT": str(key.attempt - 1),
    }
    if order.trace:
        values[VARIABLE] = _trace_context(order)
    values |= _array_variables(order) | component_variables(order, rank)
    if share.memory_bytes:
        values["SLURM_MEM_PER_NODE"] = str(share.memory_bytes >> 20)
    if spec.account:
        values["SLURM_JOB_ACCOUNT"] = spec.account
    if len(names) > 1 or task_count > 1:
        values |= _rendezvous(order, names)
    if share.gpu_milli:  # heeded by programs under NVIDIA's MPS
        values["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{share.gpu_milli / 10:g}"
    if node.gpus:
        # Empty hides the devices from a job that was given none.
        values["CUDA_VISIBLE_DEVICES"] = gpus
        values["SLURM_JOB_GPUS"] = gpus
    return _strings(values.items())


def input_variables(order: LaunchOrder, store: Path) -> list[bytes]:
    """Where the job finds its inputs: each by its number, HAL_INPUT_1, and datasets as HAL_DATASET_GENOME for `genome`;
    what no variable may hold becomes `_`. What was not brought is where the user said."""
    values = []
    file_names = dict(order.file_names)
    for number, text in enumerate(order.spec.inputs, start=1):
        place = text
        if text.startswith(REFERENCE):
            dataset = text.removeprefix(REFERENCE)
            place = str(store / COPIES / dataset / file_names.get(text, ""))
            if text not in file_names:
                name = re.sub("[^A-Za-z0-9]", "_", dataset.partition("@")[0]).upper()
                values.append((f"HAL_DATASET_{name}", place))
        values.append((f"HAL_INPUT_{number}", place))
    return _strings(values)


def _trace_context(order: LaunchOrder) -> str:
    """What the processes trace hangs below the span in which they run."""
    trace_id = int(order.trace, 16)
    return context_text(trace_id, run_span_id(trace_id, *order.key))


def hook_environment(order: LaunchOrder, node: Node) -> list[bytes]:
    """What prolog and epilog are told: of the job what HAL knows, of the user's variables what begins with HAL_USER_.

    The launcher checks it again (launcher/hooks.py). More of the user's than a bound is left out: it is not for a user
    to say that a prolog cannot be started.
    """
    names = [name for name, _ in order.nodes]
    values = {
        "HAL_JOB_ID": str(order.key.job_id),
        "HAL_ATTEMPT": str(order.key.attempt),
        "HAL_JOB_USER": order.owner.user,
        "HAL_JOB_UID": str(order.owner.uid),
        "HAL_JOB_GID": str(order.owner.gid),
        "HAL_PARTITION": order.spec.partition,
        "HAL_NODE_NAME": node.name,
        "HAL_NODE_LIST": ",".join(names),
        "HAL_NODE_RANK": str(names.index(node.name)),
        "HAL_CPUS": order.share.cpus,
        "HAL_GPUS": order.share.gpus,
        "HAL_MEMORY_BYTES": str(order.share.memory_bytes),
    }
    if order.spec.array is not None:
        values["HAL_ARRAY_INDEX"] = str(order.key.index)
    found = _strings(values.items())
    size = 0
    for text in order.spec.environment:
        string = b"HAL_USER_" + text.encode("utf-8", "surrogateescape")
        size += len(string)
        if size > USER_BYTES_MAX:
            break
        found.append(string)
    return found


def task_environments(order: LaunchOrder, node: Node) -> list[list[bytes]]:
    """One list for each process to start on this node; empty if the job's command runs on another node only."""
    names = [name for name, _ in order.nodes]
    rank = names.index(node.name)
    match order.spec.spread:
        case Spread.JOB:
            ranks = [0] if rank == 0 else []
        case Spread.NODE:
            ranks = [rank]
        case Spread.TASK:
            before = sum(count for _, count in order.nodes[:rank])
            ranks = list(range(before, before + order.share.task_count))
    is_gang = order.spec.spread is not Spread.JOB and (len(names) > 1 or sum(count for _, count in order.nodes) > 1)
    return [_task_variables(task_rank, local_rank, is_gang) for local_rank, task_rank in enumerate(ranks)]


def _task_variables(task_rank: int, local_rank: int, is_gang: bool) -> list[bytes]:
    values = [
        ("HAL_TASK_RANK", str(task_rank)),
        ("HAL_LOCAL_RANK", str(local_rank)),
        ("SLURM_PROCID", str(task_rank)),
        ("SLURM_LOCALID", str(local_rank)),
    ]
    if is_gang:
        values += [("RANK", str(task_rank)), ("LOCAL_RANK", str(local_rank))]
    return _strings(values)


def _rendezvous(order: LaunchOrder, names: Sequence[str]) -> dict[str, str]:
    """How the processes of a gang find one another: addresses, and what `torchrun` and its like want to know.

    The port is the same on all nodes and differs between jobs that run at the same time, as far as 12,000 allow.
    """
    addresses = order.addresses or tuple(names)
    values = {
        "HAL_NODE_ADDRESSES": ",".join(addresses),
        "MASTER_ADDR": addresses[0],
        "MASTER_PORT": str(PORT_FIRST + (order.key.job_id * PORT_STEP + order.key.index) % PORT_COUNT),
    }
    if order.spec.spread is not Spread.JOB:
        ranks = len(names) if order.spec.spread is Spread.NODE else sum(count for _, count in order.nodes)
        values["WORLD_SIZE"] = str(ranks)
        values["LOCAL_WORLD_SIZE"] = "1" if order.spec.spread is Spread.NODE else str(order.share.task_count)
    own = {text.partition("=")[0] for text in order.spec.environment}
    return {name: value for name, value in values.items() if name.startswith("HAL_") or name not in own}


def _array_variables(order: LaunchOrder) -> dict[str, str]:
    array = order.spec.array
    if array is None:
        return {}
    index = str(order.key.index)
    return {
        "HAL_ARRAY_INDEX": index,
        "SLURM_ARRAY_JOB_ID": str(order.key.job_id),
        "SLURM_ARRAY_TASK_ID": index,
        "SLURM_ARRAY_TASK_COUNT": str(sum(stop - start for start, stop in array.indices)),
        "SLURM_ARRAY_TASK_MIN": str(array.indices[0][0]),
        "SLURM_ARRAY_TASK_MAX": str(array.indices[-1][1] - 1),
    }


def _tasks_per_node(counts: list[int]) -> str:
    """Slurm's run-length form: `2(x3),1`."""
    runs: list[tuple[int, int]] = []
    for count in counts:
        if runs and runs[-1][0] == count:
            runs[-1] = (count, runs[-1][1] + 1)
        else:
            runs.append((count, 1))
    return ",".join(f"{count}(x{times})" if times > 1 else str(count) for count, times in runs)


def _strings(pairs: Iterable[tuple[str, str]]) -> list[bytes]:
    return [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in pairs]
