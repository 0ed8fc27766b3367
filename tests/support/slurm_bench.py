"""The bridge's executor over a real Slurm, without a daemon: orders go in, and what it reports is compared with what
accounting says. For the bridge's suite and its benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from hal_core import (
    ArraySpec,
    AttemptKey,
    End,
    EndKind,
    JobId,
    JobSpec,
    LaunchOrder,
    Message,
    NodeName,
    NodeReported,
    Owner,
    PartitionName,
    PartsChanged,
    PartStatus,
    Share,
    Spread,
)
from hal_plugin_slurm.executor import SlurmExecutor
from tests.support.slurm import SlurmCluster

N1, N2 = NodeName("n01"), NodeName("n02")
PATIENCE_S = 120.0
Accounted = tuple[str, str]
"""State and exit code, as `sacct -P` has them."""


@attrs.define
class SlurmBench:
    """An executor that runs, and what it reported."""

    slurm: SlurmCluster
    executor: SlurmExecutor
    parts: dict[tuple[NodeName, AttemptKey], PartStatus] = attrs.Factory(dict)
    nodes: list[NodeReported] = attrs.Factory(list)

    def order(self, job_id: int, script: str = "", index: int = 0, **changes: Any) -> LaunchOrder:
        owner, nodes = changes.pop("owner", Owner("root", 0, 0)), changes.pop("nodes", ((N1, 1),))
        given = {"script": f"#!/bin/sh\n{script}\n"} if script else {"command": ("true",)}
        given |= {"working_directory": str(self.slurm.work), "name": "a job", "partition": PartitionName("normal")}
        key = AttemptKey(JobId(job_id), index, 1)
        return LaunchOrder(key, owner, JobSpec(**given | changes), Share(nodes[0][0], 1, "0"), nodes, 1)

    async def report(self, message: Message) -> None:
        match message:
            case NodeReported():
                self.nodes.append(message)
            case PartsChanged(node=node, parts=parts):
                self.parts |= {(node, part.key): part for part in parts}

    async def until(self, what: str, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        with trio.move_on_after(patience_s):
            while True:
                if holds():
                    return
                await trio.sleep(0.1)
        raise AssertionError(f"not within {patience_s:g} s: {what}; reported: {list(self.parts.items())[:50]}")

    async def ends(self, orders: list[LaunchOrder], patience_s: float = PATIENCE_S) -> list[End]:
        await self.until("ends", lambda: all(self.end_of(order) for order in orders), patience_s)
        return [end for order in orders if (end := self.end_of(order)) is not None]

    def end_of(self, order: LaunchOrder) -> End | None:
        part = self.parts.get((order.share.node, order.key))
        return None if part is None else part.end

    def native_id(self, order: LaunchOrder) -> int:
        (ticket,) = [each for each in self.executor._book.tickets.values() if each.key(order.key.index) == order.key]
        assert ticket.native_id is not None
        return ticket.native_id

    async def differences(self, orders: list[LaunchOrder]) -> dict[AttemptKey, tuple[Accounted, Accounted]]:
        """(HAL, accounting) where they differ, once `sacct -P` has all of them."""
        names = {self._accounted_name(order): order.key for order in orders}

        def accounted() -> dict[AttemptKey, Accounted]:
            lines = self.slurm.run("sacct", "-nPX", "-o", "JobID,State,ExitCode").splitlines()
            rows = [line.split("|") for line in lines]
            return {names[name]: (state.split()[0], code) for name, state, code in rows if name in names}

        def is_complete() -> bool:
            found = accounted()
            return len(found) == len(names) and not {state for state, _ in found.values()} & {"RUNNING", "PENDING"}

        await self.until("accounting has all", is_complete)
        theirs = accounted()
        ours = {order.key: as_accounted(self.ends_known[order.key]) for order in orders}
        same = {key: (state, code if ours[key][1] else "") for key, (state, code) in theirs.items()}
        return {key: (ours[key], same[key]) for key in ours if ours[key] != same[key]}

    @property
    def submitted_count(self) -> int:
        return sum(ticket.native_id is not None for ticket in self.executor._book.tickets.values())

    @property
    def ends_known(self) -> dict[AttemptKey, End]:
        return {key: part.end for (_, key), part in self.parts.items() if part.end is not None}

    def _accounted_name(self, order: LaunchOrder) -> str:
        native_id = self.native_id(order)
        return f"{native_id}_{order.key.index}" if order.spec.array else str(native_id)


def as_accounted(end: End) -> Accounted:
    """The code is empty where Slurm's is the batch script's own and says nothing (a cancel, a time limit).

    Of a code from 128 on `sacct` prints what it is more than that (its print.c: such codes are a shell's for signals);
    slurmctld, whom the bridge asks first, has it whole.
    """
    match end.kind:
        case EndKind.EXITED:
            return ("FAILED" if end.exit_code else "COMPLETED"), f"{(end.exit_code or 0) % 128}:0"
        case EndKind.SIGNALLED:
            return "FAILED", f"0:{end.signal}"
        case EndKind.LAUNCH_FAILED:
            return "FAILED", "0:53"
        case EndKind.TIME_LIMIT:
            return "TIMEOUT", ""
        case _:
            return end.kind.name, ""


def every_kind(bench: SlurmBench, first_id: int) -> list[LaunchOrder]:
    """Twelve jobs: good, bad, killed, in an array, on several nodes, with GPUs, with an output that cannot be."""
    array = ArraySpec(((0, 4),))
    two = ((N1, 2), (N2, 2))
    gang = {"spread": Spread.TASK, "node_count": 2, "task_count": 4, "nodes": two}
    return [
        bench.order(first_id),
        bench.order(first_id + 1, "exit 7"),
        bench.order(first_id + 2, "kill -9 $$"),
        bench.order(first_id + 3, "kill -15 $$; sleep 5"),
        bench.order(first_id + 4, command=("sh", "-c", "exit 3")),
        bench.order(first_id + 5, output_pattern="/dev/null/%j"),
        bench.order(first_id + 6, "exit $HAL_TASK_RANK", **gang),
        bench.order(first_id + 7, 'test "$CUDA_VISIBLE_DEVICES" = 0,1', gpus_per_node=2, gpu_type="fake"),
        *(bench.order(first_id + 8, "exit $((HAL_ARRAY_INDEX % 3))", index, array=array) for index in range(4)),
    ]
