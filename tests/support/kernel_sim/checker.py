"""The invariants, after every event and every cycle: what is on disk against what really happens on the nodes.

It has its own reading of the events (tests/support/witness.py), and never asks the production code whether it is right.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from hal_core.models.event import (
    Event,
    InputsStaged,
    JobCancelRequested,
    JobEnded,
    JobRequeued,
    JobResumed,
    JobSubmitted,
    JobSuspended,
    NodeJoined,
    NodeSuspected,
    NodeWentDown,
    PartEnded,
    PartStarted,
)
from hal_core.models.job import EndKind, JobId, JobSpec, JobState, Spread
from hal_core.models.message import Answer, Cancel, Message, Requeue, Submission
from hal_core.models.node import NodeName, NodeStatus
from hal_core.models.placement import AttemptKey, Share
from hal_core.models.ranges import members
from hal_core.rules.state import State
from tests.support.holdings import Holdings
from tests.support.invariants import check_dump, check_state
from tests.support.witness import Job, Witness

if TYPE_CHECKING:
    from tests.support.kernel_sim.world import World

FULL_CHECK_CYCLES = 100
ATTEMPTS_MAX = 10
TAKEN_AWAY = frozenset({EndKind.NODE_LOST, EndKind.SUPERVISOR_LOST})
SLACK_S = 120.0
"""So late may be what HAL does by itself."""
ENDING_S = 420.0
"""So late may a process end after it should, on a node that was in contact all the time: slow lanes and spawners, a
lost message that is noticed by silence, and its grace."""


class Checker:
    """Raises AssertionError at the first thing that does not hold."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.witness = Witness()
        self.witness.is_clock_set = bool(world.faults.clock_steps)
        self.holdings = Holdings()
        self.unfinished: dict[JobId, Job] = {}
        self._requeues: Counter[JobId] = Counter()
        """Orders to queue again that were not answered yet: they may have overtaken what else was asked."""
        self._to_end: dict[AttemptKey, float] = {}
        """Attempts that are to end, by the events, and since when: asked to, or because a part of them failed."""
        self._preempted: set[AttemptKey] = set()
        self._stands_still: dict[AttemptKey, tuple[bool, float]] = {}
        """Of attempts that were ever suspended, by the events: whether they are, and since when that."""
        self._is_down: set[NodeName] = set()
        self._suspect_since_s: dict[NodeName, float] = {}
        self._suspect_time_s: dict[NodeName, float] = {}
        """The same by the clock of the daemon's machine, which anybody may set."""
        self._free_since_s: dict[tuple[JobId, int], float] = {}
        """Since when nobody is seen on the CPUs of what is suspended and not aside."""
        self._cycle_count = 0

    # -- events, when they are on disk ---------------------------------------------------------------------------------

    def see(self, event: Event) -> None:
        if isinstance(event, JobEnded | JobRequeued):
            self._over(event)
        self.witness.see(event)
        self.holdings.see(event)
        truth = self._world.truth
        match event:
            case JobSubmitted(job_id=job_id):
                self.unfinished[job_id] = self.witness.jobs[job_id]
            case PartStarted(key=key, node=node):
                assert truth.has_begun(node, key), f"{key} is said to run on {node}, where it never began"
            case PartEnded(key=key, node=node, end=end):
                self._part_over(key, node)
                if end.state is not JobState.COMPLETED:
                    self._to_end.setdefault(key, self._world.now_s)
                if end.kind is EndKind.NODE_LOST:
                    self._world.people.hear_of_trouble([key.job_id])
            case InputsStaged(key=key):
                assert key not in truth.staged, f"{key} is staged twice"
                truth.staged.add(key)
            case JobCancelRequested(job_id=job_id, elements=elements):
                for index in members(elements):
                    key = AttemptKey(job_id, index, self.witness.jobs[job_id].elements[index].attempt)
                    self._to_end.setdefault(key, self._world.now_s)
                    if event.preempted_for is not None:
                        self._preempted.add(key)
            case JobSuspended(job_id=job_id, elements=elements) | JobResumed(job_id=job_id, elements=elements):
                for index in members(elements):
                    key = AttemptKey(job_id, index, self.witness.jobs[job_id].elements[index].attempt)
                    self._stands_still[key] = (isinstance(event, JobSuspended), self._world.now_s)
            case NodeJoined(node=node):
                self._is_down.discard(node.name)
                self._suspect_since_s.pop(node.name, None)
            case NodeSuspected(node=node):
                self._suspect_since_s[node] = self._world.now_s
                self._suspect_time_s[node] = event.time_s
                self._world.people.hear_of_trouble(self._jobs_on(node))
            case NodeWentDown(node=node):
                self._is_down.add(node)
                self._suspect_since_s.pop(node, None)
                after_s = event.time_s - self._suspect_time_s.pop(node, -math.inf) + 0.001
                assert after_s >= self._world.cluster.node_timeout_s, f"{node} was given up after {after_s:.0f} s"
            case _:
                pass

    def _jobs_on(self, node: NodeName) -> list[JobId]:
        """Jobs that have an allocation there."""
        return [
            job_id
            for job_id, job in self.unfinished.items()
            if any(
                each.phase == "active" and node in [share.node for share in each.shares]
                for each in job.elements.values()
            )
        ]

    def _is_given_up(self, node: NodeName, key: AttemptKey) -> bool:
        """Nobody is told that it has ended there: it is known to run on, and no new work comes near it."""
        return node in self._is_down or key in self.witness.orphans.get(node, ())

    def _part_over(self, key: AttemptKey, node: NodeName) -> None:
        if not self._is_given_up(node, key):
            assert node not in self._world.truth.runs_on(key), f"{key} is said to have ended on {node}, where it runs"

    def _over(self, event: JobEnded | JobRequeued) -> None:
        """An attempt is over: nothing of it runs (but on nodes that were given up), and nothing ever will."""
        if isinstance(event, JobRequeued):
            keys = [event.key]
        else:
            keys = [AttemptKey(event.job_id, index, event.attempt) for index in members(event.elements)]
        job = self.witness.jobs[keys[0].job_id]
        for key in keys:
            element = job.elements[key.index]
            where = self._world.truth.runs_on(key)
            left = [name for name in where if isinstance(event, JobRequeued) or not self._is_given_up(name, key)]
            assert not left, f"{key}: {type(event).__name__} ({event.end.kind.value}) while it runs on {left}"
            if element.phase == "active":
                self._check_end(event, key, job.spec, element.shares)
            self._world.truth.close(key, f"{type(event).__name__} ({event.end.kind.value})")
            self._to_end.pop(key, None)
            self._stands_still.pop(key, None)
        if isinstance(event, JobEnded) and job.phases()["ended"] + len(keys) == len(job.elements):
            self.unfinished.pop(event.job_id, None)
        if isinstance(event, JobRequeued):
            self.unfinished[event.key.job_id] = job
        elif event.end.kind is EndKind.NODE_LOST:
            self._world.people.hear_of_loss(event.job_id)

    def _check_end(
        self, event: JobEnded | JobRequeued, key: AttemptKey, spec: JobSpec, shares: tuple[Share, ...]
    ) -> None:
        """What is said of an end is what happened."""
        truth, end = self._world.truth, event.end
        parts = [share.node for share in shares][: 1 if spec.spread is Spread.JOB else None]
        outcomes = [truth.outcome[node, key] for node in parts if (node, key) in truth.outcome]
        if isinstance(event, JobRequeued):
            may_be = event.by != "hal" or spec.can_requeue or key in self._preempted
            assert may_be, f"{key} was queued again, which its user did not allow"
            return
        if end.state is JobState.COMPLETED:
            assert len(outcomes) == len(parts), f"{key} COMPLETED, but {outcomes} is all that ended of {parts}"
            assert all(each.state is JobState.COMPLETED for each in outcomes), f"{key} COMPLETED: {outcomes}"
        elif end.kind is EndKind.EXITED:
            assert any(each.exit_code == end.exit_code for each in outcomes), f"{key}: {end} of {outcomes}"
        elif end.kind is EndKind.NODE_LOST:
            can_go_on = spec.can_requeue and key.attempt < ATTEMPTS_MAX
            assert not can_go_on or self._was_asked_to_end(key), f"{key} was lost with its node, but not queued again"
        elif end.kind is EndKind.SUPERVISOR_LOST:
            was_killed = any(each.kind is EndKind.SUPERVISOR_LOST for each in outcomes)
            assert was_killed, f"{key} ended as {end}, but no supervisor of it was killed"
        elif end.kind is EndKind.CANCELLED:
            assert end.by, f"{key} was cancelled by nobody"

    def _was_asked_to_end(self, key: AttemptKey) -> bool:
        return self.witness.jobs[key.job_id].elements[key.index].is_asked_to_end

    # -- what people were told -----------------------------------------------------------------------------------------

    def acknowledged(self, submission: Submission, job_id: JobId) -> None:
        job = self.witness.jobs.get(job_id)
        assert job is not None, f"{submission.client_id} was answered {job_id}, which is not on disk"
        assert (job.spec, job.owner) == (submission.spec, submission.owner), f"job {job_id} is another job"

    def ordered(self, message: Message) -> None:
        if isinstance(message, Requeue):
            self._requeues[message.selection.job_id] += 1

    def obeyed(self, message: Message, answer: Answer | Exception) -> None:
        if isinstance(message, Requeue):
            self._requeues[message.selection.job_id] -= 1
        if isinstance(answer, Exception):
            self._world.count("orders_refused")
            return
        if isinstance(message, Cancel) and not self._requeues[message.selection.job_id]:
            job = self.witness.jobs[message.selection.job_id]
            chosen = message.selection.indices
            for index in members(chosen) if chosen else job.elements:
                element = job.elements[index]
                is_obeyed = element.phase == "ended" or (element.phase == "active" and element.is_asked_to_end)
                assert is_obeyed, f"{message.selection.job_id}.{index} was cancelled, and is {element.phase}"

    # -- the state -----------------------------------------------------------------------------------------------------

    def after_cycle(self, state: State) -> None:
        """The state against the fold and the witness. What is not yet on disk is not compared."""
        journal = self._world.journal
        if state.sequence != journal.sequence:
            return
        self._cycle_count += 1
        assert state.allocations.keys() == self.holdings.active.keys(), (
            "the state holds other allocations than the fold"
        )
        self.holdings.compare(state)
        if self._cycle_count % FULL_CHECK_CYCLES == 0:
            self.check_all(state)

    def check_all(self, state: State) -> None:
        check_state(state)
        check_dump(state)
        assert state.dump() == self._world.journal.folded.dump(), "the state is not the fold of the journal"
        self._world.count("full_checks")

    def probe(self) -> None:
        """What must not stay as it is for long while the daemon and its disk are well."""
        world, now_s = self._world, self._world.now_s
        if now_s < world.well_since_s + SLACK_S:
            return
        self._probe_ends()
        self._probe_suspended()
        limit_s = world.cluster.node_timeout_s + SLACK_S
        for name, since_s in self._suspect_since_s.items():
            assert now_s < max(since_s, world.well_since_s) + limit_s, (
                f"{name} is suspect since {now_s - since_s:.0f} s"
            )
        table = world.daemon.core.state.table
        for number, node in enumerate(table.nodes):
            if table.status[number] is NodeStatus.UP and node.name not in world.daemon.links:
                since_s = world.lost_contact_s.setdefault(node.name, now_s)
                assert now_s < since_s + SLACK_S, f"{node.name} is believed to be up, but nobody is connected"
            else:
                world.lost_contact_s.pop(node.name, None)

    def _probe_suspended(self) -> None:
        """Nothing stands still for nobody, unless a person wants it."""
        holdings, now_s = self.holdings, self._world.now_s
        for element in holdings.suspended - holdings.aside:
            job_id, index = element
            key = AttemptKey(job_id, index, self.witness.jobs[job_id].elements[index].attempt)
            if key in self._to_end or any(True for _ in holdings.beside(element)):
                self._free_since_s.pop(element, None)
            else:
                since_s = max(self._free_since_s.setdefault(element, now_s), self._world.well_since_s)
                assert now_s < since_s + SLACK_S, f"{key} stands still since {since_s:.0f} for nobody"
        for element in self._free_since_s.keys() - (holdings.suspended - holdings.aside):
            del self._free_since_s[element]

    def _probe_ends(self) -> None:
        """Nothing runs on for long that is to end and whose node can be told so."""
        world = self._world
        for name, key in world.truth.running:
            link = world.daemon.links.get(name)
            if key in self._to_end and link is not None:
                since_s = max(self._to_end[key], link.joined_s, world.well_since_s)
                assert world.now_s < since_s + ENDING_S, f"{key} runs on at {name}, and is to end since {since_s:.0f}"
            elif key in self._stands_still and link is not None:
                is_still, since_s = self._stands_still[key]
                since_s = max(since_s, link.joined_s, world.well_since_s)
                is_late = is_still != ((name, key) in world.truth.still) and world.now_s >= since_s + ENDING_S
                assert not is_late, f"{key} {'runs' if is_still else 'stands still'} at {name} since {since_s:.0f}"
