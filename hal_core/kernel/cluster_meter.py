"""Figures of the cluster as it is: CPUs and GPUs in use, and the queue by reason.

What is a sum over nodes is made when somebody asks. Why each job waits is not: with a hundred thousand of them that
takes a second. A task goes through the queue in small pieces, and rests a hundred times as long as it has worked.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import compress, islice
from typing import Final

import trio

from hal_core.kernel.exposition import family, labelled
from hal_core.rules.state import State
from hal_core.rules.waiting import REASON_KINDS, Waiting

PIECE: Final = 50
"""Jobs looked at before others get a turn: less than a millisecond."""
REST_S_MIN: Final = 10.0
REST_SHARE: Final = 100.0


class ClusterMeter:
    """`state` gives the live state; `problem` says why no new work is taken."""

    def __init__(self, state: Callable[[], State], problem: Callable[[], str], now_s: Callable[[], float]) -> None:
        self._state = state
        self._problem = problem
        self._now_s = now_s
        self._jobs_by_reason: Counter[str] = Counter()

    async def run(self, cpu_s: Callable[[], float] = time.thread_time) -> None:
        """Survey the queue again and again, until cancelled."""
        while True:
            worked_s = await self.survey(cpu_s)
            await trio.sleep(max(REST_S_MIN, REST_SHARE * worked_s))

    async def survey(self, cpu_s: Callable[[], float] = time.thread_time) -> float:
        """Count the jobs of which something waits by reason; the CPU time that took. Ids that come meanwhile wait."""
        counts: Counter[str] = Counter()
        job_ids, worked_s = list(self._state().jobs), 0.0
        rest = iter(job_ids)
        while piece := list(islice(rest, PIECE)):
            begin_s, state = cpu_s(), self._state()
            waiting = Waiting(state, self._now_s())
            for job_id in piece:
                record = state.jobs.get(job_id)
                reason = None if record is None else waiting.reason(record)
                if reason is not None:
                    counts[reason.kind] += 1
            worked_s += cpu_s() - begin_s
            await trio.lowlevel.checkpoint()
        self._jobs_by_reason = counts
        return worked_s

    def render(self) -> bytes:
        """In the Prometheus text format."""
        table = self._state().table
        cpus = (sum(node.cpu_count for node in table.nodes), table.free_cpus)
        gpus = (sum(len(node.gpus) for node in table.nodes), [sum(each.values()) for each in table.free_gpus])
        texts = [
            family("hal_accepting", "gauge", "1 if new work is taken.", [("", 0.0 if self._problem() else 1.0)]),
            family(
                "hal_queue_jobs",
                "gauge",
                "Jobs of which something waits, by the reason, as of a survey in the last minutes.",
                labelled("reason", ((kind, self._jobs_by_reason[kind]) for kind in REASON_KINDS)),
            ),
        ]
        for name, (whole, unused) in (("CPUs", cpus), ("GPUs", gpus)):
            free = sum(compress(unused, table.is_available))
            uses = (("taken", whole - sum(unused)), ("free", free), ("out", sum(unused) - free))
            about = f"{name} by use; out are those of nodes that cannot be given work."
            texts.append(family(f"hal_{name.lower()}", "gauge", about, labelled("use", uses)))
        return "".join(texts).encode("ascii")
