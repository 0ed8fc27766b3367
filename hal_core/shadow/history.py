"""What is known of another scheduler: a fold of the facts in a record, and which facts a look adds to it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, assert_never

import attrs

from hal_core.models.foreign import ForeignJob, ForeignNode, Look
from hal_core.shadow.facts import Began, Came, Ended, Fact, Looked, NodeSeen, Started, Waits

GAP_S: Final = 300.0
"""Without a look for so long, jobs may have come and gone: slurmctld forgets what has ended after as much."""


@attrs.define
class Followed:
    """One job of the other scheduler, as far as it was seen."""

    came: Came
    ready_time_s: float | None = None
    """From when on it waited for nothing but room; None: it never has, as far as was seen."""
    reason: str = ""
    """Why it waited, as was said last."""
    is_ready: bool = True
    start_time_s: float | None = None
    nodes: tuple[str, ...] = ()
    start_seen_s: float = math.inf
    """In which look. Clocks differ, and Slurm cuts off its times to seconds: what was before what, looks say better."""
    end_seen_s: float = math.inf
    end_time_s: float | None = None
    """Of one whose end nobody saw, when it was missed."""

    @property
    def is_over(self) -> bool:
        return self.end_time_s is not None


@attrs.define
class History:
    """`begin_s` and `last_s` are the first and the last look; `gaps` the times without one, longer than GAP_S."""

    scheduler: str = ""
    begin_s: float | None = None
    last_s: float = 0.0
    gaps: list[tuple[float, float]] = attrs.field(factory=list)
    nodes: dict[str, NodeSeen] = attrs.field(factory=dict)
    node_changes: list[NodeSeen] = attrs.field(factory=list)
    jobs: dict[str, Followed] = attrs.field(factory=dict)
    open: dict[str, Followed] = attrs.field(factory=dict)
    """Those that are not over."""

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> History:
        history = cls()
        for fact in facts:
            history.apply(fact)
        return history

    def apply(self, fact: Fact) -> None:
        match fact:
            case Began():
                self.scheduler = fact.scheduler
            case NodeSeen():
                self.nodes[fact.name] = fact
                self.node_changes.append(fact)
            case Came():
                self.jobs[fact.key] = self.open[fact.key] = Followed(fact)
            case Waits():
                job = self.jobs[fact.key]
                if fact.is_ready and job.ready_time_s is None:
                    # What was never seen to be kept back was ready when it came.
                    job.ready_time_s = job.came.submit_time_s if job.is_ready else fact.time_s
                job.reason, job.is_ready = fact.reason, fact.is_ready
            case Started():
                job = self.jobs[fact.key]
                if job.ready_time_s is None:
                    job.ready_time_s = job.came.submit_time_s if job.is_ready else fact.start_time_s
                job.start_time_s, job.nodes, job.start_seen_s = fact.start_time_s, fact.nodes, fact.time_s
            case Ended():
                job = self.jobs[fact.key]
                job.end_time_s = fact.time_s if fact.end_time_s is None else fact.end_time_s
                job.end_seen_s = fact.time_s
                del self.open[fact.key]
            case Looked():
                if self.begin_s is None:
                    self.begin_s = fact.time_s
                elif fact.time_s > self.last_s + GAP_S:
                    self.gaps.append((self.last_s, fact.time_s))
                self.last_s = fact.time_s
            case _:
                assert_never(fact)

    def news(self, look: Look) -> Sequence[Fact]:
        """What the look adds; the last of it is `Looked`. Nothing is applied."""
        facts: list[Fact] = [fact for node in look.nodes if (fact := self._node(node, look.time_s)) is not None]
        seen = set()
        for job in look.jobs:
            seen.add(job.key)
            facts += self._job(job, look.time_s)
        facts += [Ended(look.time_s, key, None) for key in self.open if key not in seen]
        return [*facts, Looked(look.time_s)]

    def _node(self, node: ForeignNode, time_s: float) -> NodeSeen | None:
        now = NodeSeen(time_s, node.name, node.cpu_count, node.memory_bytes, node.gpu_count, node.closed)
        before = self.nodes.get(node.name)
        is_same = before is not None and now == NodeSeen(time_s, *_without_time(before))
        return None if is_same else now

    def _job(self, job: ForeignJob, time_s: float) -> list[Fact]:
        known, key = self.jobs.get(job.key), job.key
        facts: list[Fact] = []
        if known is None:
            amounts = job.node_count, job.cpu_count, job.memory_bytes, job.gpu_count
            facts.append(Came(time_s, key, job.user, job.partition, job.submit_time_s, *amounts, job.limit_s))
        elif known.is_over:
            return []
        if job.start_time_s is not None:
            if known is None or known.start_time_s != job.start_time_s:
                facts.append(Started(time_s, key, job.start_time_s, tuple(job.nodes)))
        elif job.end_time_s is None and (known is None or (known.reason, known.is_ready) != (job.reason, job.is_ready)):
            facts.append(Waits(time_s, key, job.reason, job.is_ready))
        if job.end_time_s is not None:
            facts.append(Ended(time_s, key, job.end_time_s))
        return facts


def _without_time(node: NodeSeen) -> tuple[str, int, int, int, str]:
    return node.name, node.cpu_count, node.memory_bytes, node.gpu_count, node.closed
