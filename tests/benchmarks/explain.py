"""What `hal explain` costs at 135,000 waiting jobs on 10,000 nodes: the stall of the loop, and the verifying beside it.

python -m tests.benchmarks.explain [--json]
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import TypeVar

import attrs

from hal_core.kernel.start_forecasts import planned_from
from hal_core.models.message import DefineCluster
from hal_core.models.policy import Priorities, QueueOrder
from hal_core.rules.core import Core
from hal_core.rules.excerpt import excerpt
from hal_core.rules.explain import explain, question, verified
from tests.benchmarks.common import Figures, milliseconds, parser_of, progress, run
from tests.benchmarks.engine import TOPOLOGY, large_state
from tests.support.replays import engine_of

NOW_S = 200_000.0
PASSES = 6
"""After so many passes the cluster is full."""
ASKED = (0, 30, 100, 300)
"""Places in the queue of the jobs that are asked about, and the last one."""
T = TypeVar("T")


def measure(given: argparse.Namespace) -> Figures:
    gc.disable()
    progress("filling the cluster")
    core = Core(engine_of("easy"), "easy", large_state(TOPOLOGY))
    for number in range(PASSES):
        core.plan(NOW_S + number)
    figures: Figures = {"waiting": len(core.state.queue), "running": len(core.state.allocations)}
    for order in QueueOrder:
        cluster = attrs.evolve(core.state.cluster, priorities=Priorities(order))
        core.receive(DefineCluster(cluster), NOW_S + PASSES)
        figures |= asked(core, order.value, NOW_S + PASSES)
    return figures


def asked(core: Core, name: str, now_s: float) -> Figures:
    """CPU milliseconds: on the loop, and beside it, where a likely start is found too."""
    state, stalls, verifying, likely = core.state, [], [], []
    progress(f"asking, in {name} order")
    state.snapshot(now_s)
    queue = list(islice(state.queue, max(ASKED) + 1))
    for job_id in (*(queue[at] for at in ASKED), list(state.queue)[-1]):
        record = state.jobs[job_id]
        (found, asking), stall_s = timed(lambda: (explain(state, record, now_s), question(state, record, now_s)))  # noqa: B023
        _, verify_s = timed(lambda: verified(found, asking, engine_of("easy"), now_s))  # noqa: B023
        stalls.append(milliseconds(stall_s))
        verifying.append(milliseconds(verify_s))
        part, _ = timed(lambda: excerpt(state, record.job_id, now_s))  # noqa: B023
        _, likely_s = timed(lambda: planned_from(part, now_s, Random(0)))  # noqa: B023
        likely.append(milliseconds(likely_s))
    return {f"{name}_loop_stall_ms": stalls, f"{name}_verified_ms": verifying, f"{name}_likely_ms": likely}


def timed(do: Callable[[], T]) -> tuple[T, float]:
    started_s = time.process_time()
    found = do()
    return found, time.process_time() - started_s


if __name__ == "__main__":
    run(__doc__, measure, parser_of("explain"))
