"""Random faults under load, at the bridge over a real Slurm: restarts of slurmctld, kills of slurmrestd, restarts of
the bridge itself at any moment, answers that are lost after Slurm has acted. In the end every job has ended with its
own exit code, none was submitted twice, and nothing is left behind in Slurm. Then as many faults at HAL's pilots in the
same Slurm (slurm_pilot_faults.py).

slurmctld is ended by SIGTERM: killed, it forgets what it started in the last seconds (its state is saved every 5 s),
runs it again or holds it for ever, and drains the nodes, whoever submitted the jobs.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

import attrs
import trio

from hal_core import EndKind, LaunchOrder
from hal_plugin_slurm.executor import SlurmExecutor
from hal_plugin_slurm.options import SlurmOptions
from hal_plugin_slurm.way import SlurmJob, SlurmNode, SlurmReservation, SlurmUnanswered, Submission, Target, Way
from hal_plugin_slurm.way_options import open_way
from tests.campaigns.common import Campaign, Figures, progress
from tests.campaigns.slurm_pilot_faults import with_pilots
from tests.support.slurm import SlurmCluster
from tests.support.slurm_bench import N1, SlurmBench

JOBS_PER_FAULT = 3
PATIENCE_S = 900.0
FAULTS = ("restart slurmctld", "kill slurmrestd", "restart bridge", "lose answers")
SLURMS_OWN = {"KillWait": "30"}
"""Seconds from the order to end until Slurm kills, as it has them by itself: pilot.sh counts on them."""


@attrs.define
class Unreliable:
    """A way of which a share of the answers is lost."""

    way: Way
    chance: random.Random
    loss: float = 0.0

    async def submit(self, submission: Submission) -> int:
        native_id = await self.way.submit(submission)
        self._maybe_lose()
        return native_id

    async def jobs(self) -> Sequence[SlurmJob]:
        found = await self.way.jobs()
        self._maybe_lose()
        return found

    async def history(self, names: Sequence[str], since_s: float) -> Sequence[SlurmJob] | None:
        return await self.way.history(names, since_s)

    async def cancel(self, targets: Sequence[Target]) -> None:
        await self.way.cancel(targets)

    async def nodes(self) -> Sequence[SlurmNode]:
        return await self.way.nodes()

    async def reservations(self) -> Sequence[SlurmReservation]:
        return await self.way.reservations()

    def _maybe_lose(self) -> None:
        if self.chance.random() < self.loss:
            raise SlurmUnanswered("the answer was lost on purpose")


@attrs.define
class Trial:
    slurm: SlurmCluster
    options: SlurmOptions
    chance: random.Random
    orders: list[LaunchOrder] = attrs.Factory(list)
    bench: SlurmBench = attrs.field(init=False)
    way: Unreliable = attrs.field(init=False)

    def _new_executor(self) -> SlurmExecutor:
        self.way = Unreliable(open_way(self.options, time.time), self.chance)
        return SlurmExecutor(self.options, self.way)

    async def run(self, fault_count: int) -> Figures:
        counts: Counter[str] = Counter()
        self.bench = SlurmBench(self.slurm, self._new_executor())
        left = fault_count
        while left >= 0:  # one life of the bridge
            async with trio.open_nursery() as nursery:
                await nursery.start(self.bench.executor.run, self.bench.report)
                await self.bench.executor.launch(N1, [each for each in self.orders if not self._is_known(each)])
                while left > 0:
                    left -= 1
                    await self._submit_some()
                    fault = self.chance.choice(FAULTS)
                    counts[fault] += 1
                    progress(f"{fault_count - left}: {fault}")
                    if fault == "restart bridge":
                        break
                    await self._commit(fault)
                else:
                    await self.bench.ends(self.orders, PATIENCE_S)
                    left = -1
                nursery.cancel_scope.cancel()
            if left >= 0:
                self.bench.executor = self._new_executor()
        return {"faults": dict(counts)} | await self._verdict()

    def _is_known(self, order: LaunchOrder) -> bool:
        part = self.bench.parts.get((N1, order.key))
        return part is not None and (part.start_time_s is not None or part.end is not None)

    async def _submit_some(self) -> None:
        first = len(self.orders) + 1
        some = [
            self.bench.order(number, f"sleep {self.chance.randrange(4)}; exit {number % 5}", output_pattern="/dev/null")
            for number in range(first, first + JOBS_PER_FAULT)
        ]
        self.orders += some
        await self.bench.executor.launch(N1, some)
        await trio.sleep(self.chance.random() * 2)

    async def _commit(self, fault: str) -> None:
        verb, what = fault.split()
        if verb == "lose":
            self.way.loss = 0.5
            await trio.sleep(2)
            self.way.loss = 0.0
            return
        number = signal.SIGKILL if verb == "kill" else signal.SIGTERM
        await trio.to_thread.run_sync(self.slurm.kill, what, number)
        await trio.sleep(self.chance.random() * 3)
        await trio.to_thread.run_sync(self.slurm.start, what)

    async def _verdict(self) -> Figures:
        names = self.slurm.run("sacct", "-nPXD", "-o", "JobName,JobIDRaw").splitlines()
        of_name = Counter(line.rpartition("|")[0] for line in set(names) if "@hal-" in line)
        ends = Counter(end.kind for end in self.bench.ends_known.values())
        waiting = self.slurm.run("squeue", "-h", "-o", "%j").split()
        codes = [(each.key.job_id % 5, self.bench.end_of(each)) for each in self.orders]
        wrong = [1 for code, end in codes if end and end.kind is EndKind.EXITED and end.exit_code != code]
        return {
            "jobs": len(self.orders),
            "submitted_twice": sum(count > 1 for count in of_name.values()),
            "ended": sum(ends.values()),
            "lost": ends[EndKind.NODE_LOST] + ends[EndKind.SUPERVISOR_LOST],
            "wrong_codes": len(wrong),
            "left_behind": len(waiting),
        }


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    with (
        SlurmCluster(node_count=4, cpus=8, has_accounting=True, has_rest=True, settings=SLURMS_OWN) as slurm,
        tempfile.TemporaryDirectory() as directory,
    ):
        options = SlurmOptions(
            way="rest",
            address=f"unix:{slurm.rest_socket}",
            token_command="scontrol token lifespan=7200",
            configuration=str(slurm.layout.configuration),
            programs=slurm.programs,
            state_directory=directory,
            answer_timeout_s=10.0,
            poll_s_max=5.0,
        )
        figures = trio.run(Trial(slurm, options, random.Random(campaign.seed)).run, given.faults)
        if given.pilot_faults:
            figures |= with_pilots(slurm, random.Random(campaign.seed), given.pilot_faults)
            campaign.problems += figures.pop("pilot_problems")
    if figures["ended"] != figures["jobs"]:
        campaign.problems.append(f"{figures['jobs'] - figures['ended']} jobs have not ended")
    for name in ("submitted_twice", "lost", "wrong_codes", "left_behind"):
        if figures[name]:
            campaign.problems.append(f"{name}: {figures[name]}")
    return figures


def main() -> None:
    campaign = Campaign("slurm_faults", __doc__)
    campaign.parser.add_argument("--faults", type=int, default=200, help="at forwarded jobs (default: 200)")
    campaign.parser.add_argument("--pilot-faults", type=int, default=200, help="at pilots (default: 200)")
    campaign.main(measure)


if __name__ == "__main__":
    main()
