"""Interactive jobs to whom nobody comes, in virtual time, over the real core."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from hal_core.models.job import TERMINAL, JobId, JobSpec
from hal_core.models.message import DefineCluster, Submission, Submit
from hal_core.rest.attendances import Attendances, interactive
from hal_core.rules.core import Core
from hal_core.testing import FakeEngine
from hal_core.wire.terminals import UNATTENDED_S
from tests.support.core_world import ADA, make_cluster, make_spec


class Kernel:
    """The core behind the daemon's interface, without a journal."""

    def __init__(self) -> None:
        self.core = Core(FakeEngine(), "test")
        self.core.receive(DefineCluster(make_cluster(1)), 0.0)

    @property
    def state(self):
        return self.core.state

    async def ask(self, message):
        await trio.lowlevel.checkpoint()
        return self.core.receive(message, trio.current_time()).answer

    def submit(self, client_id: str, spec: JobSpec) -> JobId:
        (job_id,) = self.core.receive(Submit((Submission(client_id, ADA, spec),)), trio.current_time()).answer
        return job_id


def held() -> JobSpec:
    return make_spec(input_path=TERMINAL, is_held=True)


async def test_a_job_to_which_nobody_comes_is_cancelled_and_no_other(nursery, autojump_clock):
    kernel, attendances = Kernel(), Attendances()
    nursery.start_soon(attendances.run, kernel)
    await wait_all_tasks_blocked()
    plain = kernel.submit("plain", make_spec(is_held=True))
    left, attended = kernel.submit("left", held()), kernel.submit("attended", held())
    attendances.expect([left, attended])
    with attendances.attending(attended):
        await trio.sleep(UNATTENDED_S - 1)
        assert interactive(kernel.state) == [left, attended]
        await trio.sleep(2)
        assert interactive(kernel.state) == [attended]
        late = kernel.submit("late", held())
        attendances.expect([late, attended])
        await trio.sleep(UNATTENDED_S + 1)
        assert interactive(kernel.state) == [attended], "whoever is there is not expected any more"
    assert not kernel.state.jobs[plain].is_finished


async def test_after_a_restart_each_is_waited_for_anew(nursery, autojump_clock):
    kernel, attendances = Kernel(), Attendances()
    left, back = kernel.submit("left", held()), kernel.submit("back", held())
    nursery.start_soon(attendances.run, kernel)
    await trio.sleep(UNATTENDED_S / 2)
    with attendances.attending(back):
        await trio.sleep(UNATTENDED_S)
        assert interactive(kernel.state) == [back]
    assert left not in interactive(kernel.state)


async def test_one_that_has_ended_by_itself_is_left_alone(nursery, autojump_clock):
    kernel, attendances = Kernel(), Attendances()
    nursery.start_soon(attendances.run, kernel)
    attendances.expect([JobId(4711)])
    await trio.sleep(UNATTENDED_S + 1)
    job_id = kernel.submit("left", held())
    attendances.expect([job_id])
    await trio.sleep(UNATTENDED_S + 1)
    assert interactive(kernel.state) == [], "it goes on after a refusal"
