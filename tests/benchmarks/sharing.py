"""What priorities, fair shares and limits cost: one pass over 100,000 waiting jobs, by order of the queue.

python -m tests.benchmarks.sharing [--json]
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import deque
from typing import Any

import attrs

from hal_core.models.event import ClusterDefined
from hal_core.models.policy import Priorities, QueueOrder
from hal_core.rules import allocations
from hal_core.rules.core import Core
from hal_core.rules.explain import explain
from hal_core.rules.state import State
from tests.benchmarks.engine import large_state
from tests.support.replays import engine_of

NOW_S = 200_000.0
USER_LIMITS = (("user.cpus", 20_000), ("user.running_jobs", 150))


def variants() -> dict[str, dict[str, Any]]:
    """By name: what of the cluster's definition differs."""
    weighted = Priorities(order=QueueOrder.WEIGHTED)
    return {
        "strict": {},
        "weighted": {"priorities": weighted},
        "expansion factor": {"priorities": Priorities(order=QueueOrder.EXPANSION_FACTOR)},
        "weighted, limits": {"priorities": weighted, "limits": USER_LIMITS},
    }


def elapsed_ms(work: Any) -> tuple[float, Any]:
    started_s = time.process_time()
    result = work()
    return (time.process_time() - started_s) * 1000, result


def measure(state: State, fields: dict[str, Any]) -> dict[str, float]:
    """A pass over a full cluster after some ends, and what of it the order of the queue is."""
    state.apply(ClusterDefined(NOW_S, attrs.evolve(state.cluster, **fields)))
    core = Core(engine_of("easy"), "easy", state)
    core.plan(NOW_S)
    for activity in list(state.allocations.values())[::50][:200]:
        allocations.release(state, activity)
    order_ms, _ = elapsed_ms(lambda: state.snapshot(NOW_S + 60.0))
    whole_ms, _ = elapsed_ms(lambda: deque(state.snapshot(NOW_S + 60.0).pending(), maxlen=0))
    pass_ms, plan = elapsed_ms(lambda: core.engine.plan(state.snapshot(NOW_S + 120.0)))
    last = state.jobs[list(state.queue)[-1]]
    explain_ms, _ = elapsed_ms(lambda: explain(state, last, NOW_S + 120.0))
    return {
        "waiting": len(state.queue), "order_ms": order_ms, "whole_queue_ms": whole_ms, "pass_ms": pass_ms,
        "starts": len(plan.starts), "explain_last_ms": explain_ms,
    }  # fmt: skip


def main(words: list[str]) -> int:
    gc.disable()
    found: dict[str, dict[str, float]] = {}
    for name, fields in variants().items():
        found[name] = measure(large_state(), fields)
        if "--json" not in words:
            print(f"{name:20} " + ", ".join(f"{key} {value:.0f}" for key, value in found[name].items()), flush=True)
    if "--json" in words:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
