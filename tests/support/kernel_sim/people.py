"""Users and operators of the simulated cluster: they submit jobs of every kind, interfere, and insist on answers.

They also know what each process will really do: that is decided by the job, never by HAL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import attrs

from hal_core.errors import Unavailable
from hal_core.models.component import Component
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import (
    ArraySpec,
    Dependency,
    DependencyKind,
    End,
    EndKind,
    JobId,
    JobSpec,
    JobState,
    Owner,
    Spread,
)
from hal_core.models.message import (
    Answer,
    Cancel,
    DrainNode,
    Hold,
    JobSelection,
    Message,
    Release,
    Requeue,
    Resume,
    ResumeNode,
    SetPriority,
    Submission,
    Submit,
    Suspend,
)
from hal_core.models.node import Node, NodeName, PartitionName
from hal_core.models.ranges import RangeSet

if TYPE_CHECKING:
    from tests.support.kernel_sim.world import World

GIB = 1 << 30
ALL, SOME, URGENT = PartitionName("all"), PartitionName("some"), PartitionName("urgent")
OWNERS = (Owner("ada", 1001, 1001), Owner("bob", 1002, 1002), Owner("eve", 1003, 1003))
RETRY_S_MAX = 20.0
WORRY_S_MAX = 60.0
RUNTIME_S_MAX = 1800.0
GOING_HOME_S = 300.0
UNFINISHED_MAX = 60
"""Users look before they submit more."""
CROWDED_SHARE = 0.4
"""Of all worlds: there are more jobs than room, and many are urgent, so that others are suspended for them."""
ABLE = frozenset({Node(NodeName(""), 1, 0).executor})
"""The executor of all nodes can suspend what they run."""
RECENT = 25
"""What people interfere with are mostly the latest jobs."""


class People:
    """`arrival_s` is the mean time between submissions, `meddle_s` that between everything else people do."""

    def __init__(self, world: World, dice: Random) -> None:
        self.world = world
        self._dice = dice
        self._arrival_s = dice.choice([20.0, 40.0, 90.0])
        self._meddle_s = dice.choice([30.0, 60.0, 200.0])
        self._runtime_s = dice.choice([20.0, 60.0, 240.0, 900.0])
        self._requeue_share = dice.choice([0.0, 0.5, 1.0])
        self._gang_share = dice.choice([0.1, 0.3, 0.6])
        self._input_share = dice.choice([0.0, 0.2, 0.5])
        self._impatience = dice.choice([0.0, 0.3])
        self._urgency = Random(f"{world.seed} urgency")
        self._urgent_share = self._urgency.choice([0.0, 0.3, 0.6])
        self._crowd = Random(f"{world.seed} crowd")
        self._mixture = Random(f"{world.seed} mixture")
        self._mixed_share = self._mixture.choice([0.0, 0.3])
        self._worry = Random(f"{world.seed} worry")
        self._worried_share = self._worry.choice([0.0, 0.3, 1.0])
        self._suspend_s = self._crowd.choice([0.0, 15.0, 60.0])
        self._is_crowded = self._crowd.random() < CROWDED_SHARE
        if self._is_crowded:
            self._arrival_s, self._urgent_share = 15.0, 0.5
            self._runtime_s = self._crowd.choice([60.0, 240.0, 900.0])
        self._client_count = 0
        self.acknowledged: dict[str, tuple[JobId, ...]] = {}
        """What was answered, by client id."""
        self.are_at_work = True

    def start(self) -> None:
        self._soon(self._arrival_s, self._submit)
        self._soon(self._meddle_s, self._meddle)
        if self._suspend_s:
            self._soon(self._suspend_s, self._suspend_or_resume, self._crowd)

    def _soon(self, mean_s: float, act: Callable[[], None], dice: Random | None = None) -> None:
        def go() -> None:
            if self.are_at_work:
                act()
                self._soon(mean_s, act, dice)

        self.world.timeline.after((dice or self._dice).expovariate(1.0 / mean_s), go)

    def insist(self, message: Message, told: Callable[[Answer | Exception], None]) -> None:
        """Ask until HAL has an answer, as a good client does."""

        def hear(answer: Answer | Exception) -> None:
            if isinstance(answer, Unavailable):
                delay_s = self._dice.uniform(0.5, RETRY_S_MAX)
                self.world.timeline.after(delay_s, lambda: self.insist(message, told))
            else:
                told(answer)

        self.world.daemon.ask(message, hear)

    # -- submissions ---------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        if len(self.world.checker.unfinished) >= UNFINISHED_MAX:
            return
        dice = self._dice
        submissions = []
        for _ in range(dice.choice([1, 1, 1, 2, 4])):
            self._client_count += 1
            submissions.append(Submission(f"client-{self._client_count}", dice.choice(OWNERS), self._spec()))
        message = Submit(tuple(submissions))
        self.insist(message, lambda answer: self._answered(message, answer))
        if dice.random() < 0.2:  # The first answer got lost, or the client was impatient.
            delay_s = dice.uniform(0.0, 60.0)
            self.world.timeline.after(
                delay_s, lambda: self.insist(message, lambda answer: self._answered(message, answer))
            )

    def _answered(self, message: Submit, answer: Answer | Exception) -> None:
        if isinstance(answer, Exception):
            self.world.count("submissions_refused")
            return
        assert isinstance(answer, tuple)
        for submission, job_id in zip(message.submissions, answer, strict=True):
            self.world.checker.acknowledged(submission, job_id)
            known = self.acknowledged.setdefault(submission.client_id, (job_id,))
            assert known == (job_id,), f"{submission.client_id} was answered {known[0]}, and then {job_id}"

    def _spec(self) -> JobSpec:
        dice = self._dice
        node_count = dice.randint(2, self.world.node_count) if dice.random() < self._gang_share else 1
        array = None
        if dice.random() < 0.3:
            indices = dice.choice([((0, 2),), ((0, 6),), ((1, 3), (5, 7))])
            array = ArraySpec(indices, dice.choice([None, 1, 2]))
        dependencies = self._dependencies(array is not None)
        is_rare = dice.random() < 0.25 and not self._is_crowded
        is_urgent = self._urgency.random() < self._urgent_share
        spec = JobSpec(
            name=dice.choice("abcdefgh"),
            partition=URGENT if is_urgent else SOME if node_count == 1 and dice.random() < 0.2 else ALL,
            command=("true",),
            node_count=node_count,
            task_count=node_count * dice.choice([1, 1, 2]),
            memory_bytes_per_node=dice.choice([0, 0, GIB, GIB if self._is_crowded else 3 * GIB]),
            gpus_per_node=1 if is_rare and node_count == 1 else 0,
            is_exclusive=is_rare and dice.random() < 0.3,
            walltime_s=dice.choice([None, 30.0, 300.0, 3600.0]),
            array=array,
            dependencies=dependencies,
            needs_all_dependencies=dice.random() < 0.7 or any(d.kind is DependencyKind.AFTERCORR for d in dependencies),
            priority=dice.choice([0, 0, 0, -1, 1]),
            begin_time_s=self.world.wall_s + dice.uniform(0.0, 900.0) if is_rare and dice.random() < 0.4 else 0.0,
            is_held=dice.random() < 0.03,
            spread=dice.choice([Spread.NODE, Spread.NODE, Spread.JOB]),
            kill_grace_s=dice.choice([0.0, 5.0, 30.0]),
            inputs=("data",) if dice.random() < self._input_share else (),
            can_requeue=dice.random() < self._requeue_share,
        )
        is_mixed = self._mixture.random() < self._mixed_share and array is None and spec.partition != SOME
        return attrs.evolve(spec, components=self._components(self.world.node_count - node_count if is_mixed else 0))

    def _components(self, node_count_max: int) -> tuple[Component, ...]:
        """Further nodes with other amounts, as far as there are any."""
        dice, found = self._mixture, list[Component]()
        for _ in range(dice.choice([1, 1, 2])):
            left = node_count_max - sum(each.node_count for each in found)
            if left < 1:
                break
            count = dice.randint(1, min(left, 2))
            found.append(Component(count, count * dice.choice([1, 2]), 1, dice.choice([0, 0, GIB])))
        return tuple(found)

    def _dependencies(self, is_array: bool) -> tuple[Dependency, ...]:
        dice, jobs = self._dice, self.world.checker.witness.jobs
        if not jobs or dice.random() < 0.7:
            return ()
        kinds = [kind for kind in DependencyKind if is_array or kind is not DependencyKind.AFTERCORR]
        found = []
        for _ in range(dice.choice([1, 1, 2])):
            kind = dice.choice(kinds)
            found.append(Dependency(kind, JobId(0) if kind is DependencyKind.SINGLETON else self._some_job()))
        return tuple(found)

    def _some_job(self) -> JobId:
        count = len(self.world.checker.witness.jobs)
        return JobId(self._dice.randint(max(1, count - RECENT), max(1, count)))

    # -- everything else -----------------------------------------------------------------------------------------------

    def _meddle(self) -> None:
        jobs = self.world.checker.witness.jobs
        if not jobs:
            return
        job_id = self._some_job()
        verb = self._dice.choice([Cancel, Cancel, Requeue, Requeue, Hold, Release, Release, SetPriority])
        if verb is SetPriority:
            self._order(SetPriority(job_id, self._dice.randint(-2, 2), "root"))
            return
        indices = None
        if jobs[job_id].spec.array and verb in (Cancel, Requeue) and self._dice.random() < 0.5:
            indices = RangeSet((index, index + 1) for index in sorted(jobs[job_id].elements)[::2]).ranges()
        self._order(verb(JobSelection(job_id, indices), "ada"))

    def _suspend_or_resume(self) -> None:
        """A job that runs, or one that somebody suspended; of an array mostly some elements."""
        jobs = self.world.checker.unfinished
        aside = [job_id for job_id, job in jobs.items() if job.has_aside]
        does_resume = bool(aside) and self._crowd.random() < 0.5
        if not (chosen := aside if does_resume else list(jobs)):
            return
        job_id = self._crowd.choice(chosen)
        indices = None
        if jobs[job_id].spec.array and self._crowd.random() < 0.7:
            count = self._crowd.randint(1, len(jobs[job_id].elements))
            some = sorted(self._crowd.sample(sorted(jobs[job_id].elements), count))
            indices = RangeSet((index, index + 1) for index in some).ranges()
        selection = JobSelection(job_id, indices)
        self._order(Resume(selection, "root") if does_resume else Suspend(selection, "root", ABLE))

    def _order(self, message: Message) -> None:
        self.world.checker.ordered(message)
        self.insist(message, lambda answer: self.world.checker.obeyed(message, answer))

    def drain(self, name: NodeName) -> None:
        self._order(DrainNode(name, "work", "root"))
        self.world.timeline.after(self._dice.uniform(30.0, 1800.0), lambda: self._order(ResumeNode(name, "root")))

    def go_home(self) -> None:
        """No more work; everything that stands in the way is put right, until nothing is left."""
        self.are_at_work = False
        for name in self.world.machines:
            self._order(ResumeNode(name, "root"))
        for job_id, job in self.world.checker.unfinished.items():
            if job.is_held:
                self._order(Release(JobSelection(job_id), "root"))
            if job.has_aside:
                self._order(Resume(JobSelection(job_id), "root"))
        self.world.timeline.after(GOING_HOME_S, self.go_home)

    def hear_of_loss(self, job_id: JobId) -> None:
        """A job was lost with its node: whoever is impatient has it queued again, whatever the node does."""
        if self.are_at_work and self._dice.random() < self._impatience:
            delay_s = self._dice.uniform(0.0, 300.0)
            self.world.timeline.after(delay_s, lambda: self._order(Requeue(JobSelection(job_id), "ada")))

    def hear_of_trouble(self, job_ids: Iterable[JobId]) -> None:
        """A node that has a part of these jobs is silent, or given up: whoever worries ends them, or has them queued
        again, before it is known what becomes of them."""
        for job_id in job_ids if self.are_at_work else ():
            if self._worry.random() < self._worried_share:
                message = self._worry.choice([Cancel, Requeue])(JobSelection(job_id), "ada")
                self.world.timeline.after(self._worry.uniform(0.0, WORRY_S_MAX), partial(self._order, message))

    # -- what jobs do --------------------------------------------------------------------------------------------------

    def fate(self, order: LaunchOrder, node: NodeName) -> tuple[float, End]:
        """How long this part runs if nobody ends it, and how it then ends. Parts of a gang differ a little."""
        key, spec = order.key, order.spec
        dice = Random(f"{self.world.seed} {key.job_id} {key.index}")
        runtime_s = min(dice.expovariate(1.0 / self._runtime_s), RUNTIME_S_MAX)
        end = dice.choices(
            [
                End(EndKind.EXITED, exit_code=0),
                End(EndKind.EXITED, exit_code=3),
                End(EndKind.SIGNALLED, signal=11),
                End(EndKind.OUT_OF_MEMORY, signal=9),
            ],
            [85, 8, 4, 3],
        )[0]
        if spec.total_nodes > 1:
            rank = [name for name, _ in order.nodes].index(node)
            runtime_s += rank * dice.choice([0.0, 0.1, 5.0])
            early = dice.choice([1.0, dice.random()])
            if rank != dice.randrange(spec.total_nodes):  # One of them fails, the others would not, and run on.
                end = End(EndKind.EXITED, exit_code=0)
            elif end.state is not JobState.COMPLETED:
                runtime_s *= early
        if spec.walltime_s is not None and runtime_s > spec.walltime_s:
            return spec.walltime_s, End(EndKind.TIME_LIMIT, signal=15)
        return runtime_s, end
