"""Bombs that a user may set off on a node, and the pace of a job of somebody else beside them."""

from __future__ import annotations

import statistics
from itertools import count
from pathlib import Path

import attrs

from hal_core.models.effect import LaunchOrder
from hal_core.models.job import Owner
from hal_core.models.node import NodeName
from hal_core.models.placement import Share
from tests.support.node import RealNode, order, real_node

N1 = NodeName("n1")
MIB = 1 << 20
BOMBS = {
    "memory": "a = []\nwhile True: a.append(bytearray(1 << 22))",
    "memory of many": "import os\nos.fork(); os.fork()\na = []\nwhile True: a.append(bytearray(1 << 22))",
    "processes": "import os, time\nwhile True:\n try:\n  os.fork()\n except OSError: time.sleep(0.01)",
    "files": "n = 0\nwhile True: n += 1; open(f'file-{n % 1000}', 'w').close()",
    "output": "import os\nwhile True: os.lseek(1, 0, 0); os.ftruncate(1, 0); os.write(1, b'y' * 65536)",
}
"""Python. Each goes on until a limit ends it."""

WORK = """#!/usr/bin/python3
import time
end, count = time.monotonic() + {seconds}, 0
while time.monotonic() < end:
    sum(range(1000))
    count += 1
open("{ledger}", "w").write(str(count))
"""


@attrs.frozen
class Tenant:
    """Whoever has jobs on the node, and where."""

    owner: Owner
    home: Path


async def paces(directory: Path, victim: Tenant, bomber: Tenant, seconds: float, turns: int) -> dict[str, float]:
    """The victim's pace beside each bomb, as a share of its pace alone in the same turn; medians over the turns."""
    found: dict[str, list[float]] = {name: [] for name in BOMBS}
    async with real_node(directory, "--pids-max", "30") as node:
        numbers = count(1)
        for _ in range(turns):
            alone = await _count_of(node, victim, seconds, next(numbers), [])
            for name, text in BOMBS.items():
                beside = [_bomb(bomber, text, seconds, next(numbers))]
                found[name].append(await _count_of(node, victim, seconds, next(numbers), beside) / alone)
    return {name: round(statistics.median(ratios), 3) for name, ratios in found.items()}


def _bomb(bomber: Tenant, text: str, seconds: float, job_id: int) -> LaunchOrder:
    return order(
        job_id,
        f"#!/usr/bin/python3\n{text}\n",
        directory=bomber.home,
        owner=bomber.owner,
        share=Share(N1, 1, "1", memory_bytes=64 * MIB),
        walltime_s=seconds,
        kill_grace_s=0.0,
    )


async def _count_of(node: RealNode, victim: Tenant, seconds: float, job_id: int, beside: list[LaunchOrder]) -> int:
    """How much the victim has done in that time, on the node's first CPU."""
    ledger = victim.home / f"count-{job_id}"
    work = order(
        job_id,
        WORK.format(seconds=seconds, ledger=ledger),
        directory=victim.home,
        owner=victim.owner,
        share=Share(N1, 1, "0"),
    )
    await node.executor.launch(N1, [work, *beside])
    for each in (work, *beside):
        await node.reports.end_of(each.key)
    return int(ledger.read_text())
