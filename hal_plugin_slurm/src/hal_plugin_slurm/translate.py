"""Turns launch orders into a submission for Slurm. Pure.

The script that Slurm gets sets the job's own environment and what HAL says about the job, then becomes the user's
script or command, so that exit codes and signals are the user's own. It runs once: a second run of the same Slurm job,
which Slurm may begin when a node failed, ends at once, because attempts are HAL's to number.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from hal_core import (
    HalError,
    JobSpec,
    LaunchOrder,
    Spread,
    default_output_pattern,
    expand_pattern,
    format_ranges,
    pattern_values,
    runs_of,
)
from hal_plugin_slurm.way import Submission

ARGUMENT_BYTES_MAX: Final = 100_000
"""For what is handed to each task by `srun sh -c`: Linux takes 128 KiB in one argument."""
NAME_LENGTH_MAX: Final = 100
TERMINAL: Final = "/dev/tty"


class CannotForward(HalError):
    """The job asks for something that Slurm cannot be told."""


def submission_of(orders: Sequence[LaunchOrder], name: str, partitions: Mapping[str, str]) -> Submission:
    """One submission for orders that differ only in their index. Raises CannotForward."""
    first = orders[0]
    spec = first.spec
    _check(spec)
    output = _slurm_pattern(spec.output_pattern or default_output_pattern(spec), first)
    return Submission(
        user=first.owner.user,
        name=name,
        script=script_of(first),
        directory=spec.working_directory,
        output=output,
        error=_slurm_pattern(spec.error_pattern, first) if spec.error_pattern else output,
        input=spec.input_path,
        does_append=spec.does_append or first.key.attempt > 1,
        partition=partitions.get(spec.partition, spec.partition),
        indices="" if spec.array is None else format_ranges(runs_of(sorted(order.key.index for order in orders))),
        node_count=spec.node_count,
        task_count=spec.task_count,
        cpus_per_task=spec.cpus_per_task,
        memory_mb_per_node=-(-spec.memory_bytes_per_node // (1 << 20)),
        gres_per_node=_gres(spec),
        constraint=_constraint(spec),
        is_exclusive=spec.is_exclusive,
        time_limit_min=0 if spec.walltime_s is None else max(1, -int(-spec.walltime_s // 60)),
        account=spec.account,
        qos=spec.qos,
        reservation=spec.reservation,
        comment=spec.comment,
    )


def marked_name(instance: str, order: LaunchOrder) -> str:
    """The job's name for people, and behind the last @ a mark that no other submission has."""
    shown = re.sub(r"[^\w.+=-]", "_", order.spec.name, flags=re.ASCII)[:NAME_LENGTH_MAX]
    return f"{shown}@hal-{instance}-{order.key}"


def script_of(order: LaunchOrder) -> str:
    spec = order.spec
    lines = [
        "#!/bin/sh",
        f"# job {order.key.job_id} of HAL, attempt {order.key.attempt}",
        'if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then exit 1; fi',
    ]
    own = [text.partition("=") for text in spec.environment]
    lines += [f"export {name}={shlex.quote(value)}" for name, _, value in own if _is_variable(name)]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in _told(order).items()]
    lines += ['export HAL_NODE_LIST="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -s -d , -)"']
    lines += [] if spec.array is None else ['export HAL_ARRAY_INDEX="$SLURM_ARRAY_TASK_ID"']
    if spec.spread is Spread.JOB or (spec.node_count == 1 and spec.task_count == 1):
        return "\n".join([*lines, *_on_node(spec)]) + "\n"
    each = "\n".join(_on_node(spec))
    if len(each.encode()) > ARGUMENT_BYTES_MAX:
        raise CannotForward(f"a script that runs on each node may have {ARGUMENT_BYTES_MAX} bytes in Slurm")
    shape = "--ntasks-per-node=1" if spec.spread is Spread.NODE else f"--ntasks={spec.task_count}"
    count = f" --ntasks={spec.node_count}" if spec.spread is Spread.NODE else ""
    return "\n".join([*lines, f"exec srun --nodes={spec.node_count}{count} {shape} sh -c {shlex.quote(each)}"]) + "\n"


def _on_node(spec: JobSpec) -> list[str]:
    """What a task does: say where it is, and become the user's script or command."""
    lines = [
        'export HAL_NODE_NAME="${SLURMD_NODENAME:-}" HAL_NODE_RANK="${SLURM_NODEID:-0}" HAL_GPUS="${SLURM_JOB_GPUS:-}"',
        'export HAL_TASK_RANK="${SLURM_PROCID:-0}" HAL_LOCAL_RANK="${SLURM_LOCALID:-0}"',
    ]
    arguments = " ".join(shlex.quote(text) for text in (*spec.command, *spec.arguments))
    if not spec.script:
        return [*lines, f"exec {arguments}"]
    end = "END_OF_JOB_SCRIPT"
    while end in spec.script:
        end += "_"
    interpreter = spec.script.partition("\n")[0].removeprefix("#!").strip().split(None, 1) or ["/bin/sh"]
    words = " ".join(shlex.quote(word) for word in interpreter)
    return [
        *lines,
        'hal_script=$(mktemp) || { echo "no room for the script of the job on this node" >&2; exit 1; }',
        f"cat >\"$hal_script\" <<'{end}'",
        spec.script.removesuffix("\n"),
        end,
        'exec 3<"$hal_script"',
        'rm -f "$hal_script"',
        f"exec {words} /dev/fd/3 {arguments}".rstrip(),
    ]


def _told(order: LaunchOrder) -> dict[str, str]:
    spec = order.spec
    return {
        "HAL_JOB_ID": str(order.key.job_id),
        "HAL_JOB_NAME": spec.name,
        "HAL_ATTEMPT": str(order.key.attempt),
        "HAL_NODE_COUNT": str(spec.node_count),
        "HAL_TASK_COUNT": str(spec.task_count),
        "HAL_CPUS_PER_TASK": str(spec.cpus_per_task),
        "HAL_MEMORY_BYTES": str(spec.memory_bytes_per_node),
        "HAL_SUBMIT_DIR": spec.working_directory,
    }


def _is_variable(name: str) -> bool:
    """What a shell can export. Slurm's own names are left to Slurm: `srun` reads them."""
    return re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is not None and not name.startswith(("SLURM_", "SBATCH_"))


def _slurm_pattern(pattern: str, order: LaunchOrder) -> str:
    """The absolute path with HAL's ids in it; only the index of an element and the node are Slurm's to fill in."""
    spec, key = order.spec, order.key
    values = {name: text.replace("%", "%%") for name, text in _values(order).items()}
    values["N"] = "%N"
    if spec.array is not None:
        values |= {"a": "%a", "j": f"{key.job_id}_%a"}
    path = expand_pattern(pattern.replace("%%", "%%%%"), values)
    return path if path.startswith("/") else f"{spec.working_directory.rstrip('/').replace('%', '%%')}/{path}"


def _values(order: LaunchOrder) -> dict[str, str]:
    return pattern_values(order.spec, order.key, order.nodes[0][0], order.owner.user)


def _gres(spec: JobSpec) -> str:
    found = [f"{name}:{count}" for name, count in spec.generic_per_node]
    if spec.gpus_per_node:
        words = ["gpu", spec.gpu_type, str(spec.gpus_per_node)]
        found.insert(0, ":".join(word for word in words if word))
    return ",".join(found)


def _constraint(spec: JobSpec) -> str:
    words = list(spec.features)
    if spec.alternatives:
        words.append("|".join(each[0] for each in spec.alternatives))
        if len(spec.features):
            words[-1] = f"({words[-1]})"
    return "&".join(words)


def _check(spec: JobSpec) -> None:
    if spec.input_path == TERMINAL:
        raise CannotForward("a job with a terminal cannot be forwarded to Slurm: it needs a node with HAL's own agent")
    if spec.gpu_milli:
        raise CannotForward("a share of a GPU cannot be forwarded to Slurm: ask for whole ones")
    if spec.only_nodes or spec.excluded_nodes:
        raise CannotForward("nodes chosen by name cannot be forwarded to Slurm, which places the job: use --constraint")
    if any(len(each) > 1 for each in spec.alternatives):
        text = "Slurm takes alternatives of single features: `ib&(a|b)`, but not `(a&b)|c`"
        raise CannotForward(f"this constraint cannot be forwarded to Slurm: {text}")
    if any("\0" in text for text in (spec.script, *spec.command, *spec.arguments, *spec.environment)):
        raise CannotForward("the job has a NUL byte in its script, arguments or environment")
