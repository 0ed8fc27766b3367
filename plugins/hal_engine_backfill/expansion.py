"""The policy `hal`: backfill in the order of expansion factors, with a floor, and a guard against starvation.

Who would have been here longest for what the job takes comes first: (wait + mean run) / mean run ** 1.2, computed anew
in each pass, among jobs of equal rank (partition, quality of service, own priority). The power brings short jobs a
little further ahead than the plain factor: who starts a long one lets more jobs wait, and for longer. The floor keeps a
job that is expected to take a second from being ahead for ever. Everything else is EASY (easy.py): the first blocked
job is promised its start, the others fill the holes. Where run times are predicted, the promise has a margin: what
fills a hole may last half as long again as until the predicted start, for that is no more exact, and the machine stays
full.
Guarantee: who has waited for `starvation_s` stands before all who have not, in the order of submission; and while there
is such a job the plan rests on limits alone and its margin is given once, so that neither a wrong prediction nor a
later job can break its promise.
The expansion factor as a queue order: Srinivasan, Kettimuthu, Subramani and Sadayappan, ICPP workshops 2002; that order
matters more than the predictor: Lelong, Reis and Trystram, JSSPP 2017.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter, itemgetter

import attrs

from hal_core import PendingJob, Plan, Snapshot
from hal_engine_backfill.easy import Margin, Pass

FOREVER_S = 10 * 365 * 86_400.0
"""What a job without a limit is taken for, of which nothing is known."""
MARGIN_SHARE = 0.5
"""Of the time until a promised start, if that rests on predictions: they are not so exact that waiting for it to the
second would pay, and what fills the hole meanwhile is shorter."""
LENGTH_POWER = 1.2
"""Of the mean run time that a wait is measured against."""
WAITING_MAX = 100
"""So many of the jobs that are left are told in order."""
_submit_order = attrgetter("submit_time_s", "job_id")
_key = itemgetter(0)


class Expansion:
    """EASY backfill in the order of expansion factors."""

    def __init__(self, floor_s: float, starvation_s: float, depth_max: int = 1000, scan_max: int = 20_000) -> None:
        self._floor_s = floor_s
        self._starvation_s = starvation_s
        self._depth_max = depth_max
        self._scan_max = scan_max

    def plan(self, snapshot: Snapshot) -> Plan:
        starved, others = self._split(snapshot)
        queue = [*starved, *others]
        is_predicted = any(job.expected_s < job.walltime_s for job in queue)
        if starved:
            queue = [attrs.evolve(job, expected_s=job.walltime_s) for job in queue]
        margin = Margin(MARGIN_SHARE if is_predicted else 0.0, is_kept=bool(starved))
        one_pass = Pass(snapshot, margin, does_trust=not starved)
        behind = one_pass.start_in_order(iter(queue))
        if behind:
            one_pass.backfill(behind, self._depth_max)
        started = {start.job_id for start in one_pass.starts}
        first = queue[: WAITING_MAX + len(started)]
        return one_pass.result([job for job in first if job.job_id not in started][:WAITING_MAX] if started else first)

    def _split(self, snapshot: Snapshot) -> tuple[list[PendingJob], list[PendingJob]]:
        """Who has waited too long, and all others, each in order."""
        now_s, floor_s = snapshot.now_s, self._floor_s
        starved_s = now_s - self._starvation_s
        starved: list[PendingJob] = []
        keyed: list[tuple[tuple[int, float], PendingJob]] = []
        for job in islice(snapshot.pending(), self._scan_max):
            submit_s = job.submit_time_s
            if submit_s <= starved_s:
                starved.append(job)
                continue
            mean_s = job.mean_s if job.mean_s < FOREVER_S else FOREVER_S
            factor = (now_s - submit_s + mean_s) / (mean_s if mean_s > floor_s else floor_s) ** LENGTH_POWER
            keyed.append(((-job.rank, -factor), job))
        starved.sort(key=_submit_order)
        keyed.sort(key=_key)
        return starved, [job for _, job in keyed]
