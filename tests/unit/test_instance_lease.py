"""The lease of a rented machine: what clocks that jump and reboots do to it, and what the machine does at its end."""

from __future__ import annotations

import math

import attrs
import pytest
import trio
from hypothesis import given, strategies as st

from hal_core.agent.instance import (
    COMMAND_PAUSE_S,
    NOTICE_PERIOD_S,
    PERIOD_S,
    WRITE_PERIOD_S,
    Instance,
    InstanceOptions,
    end_machine,
)
from hal_core.agent.instance_lease import FILE, GRACE_S, InstanceLease, Moment, Phase
from hal_core.errors import Unavailable
from hal_core.models.notice import Notice

SECONDS = st.floats(0.0, 1e6)
TIMES = st.floats(0.0, 4e9)


@attrs.define
class Machine:
    """Its clocks, and the true time since it was first started. The time of day is wrong by `off_s`."""

    true_s: float = 0.0
    boots: int = 1
    booted_s: float = 0.0
    off_s: float = 0.0

    def now(self) -> Moment:
        return Moment(f"boot-{self.boots}", self.true_s - self.booted_s, 1e9 + self.true_s + self.off_s)

    def reboot(self) -> None:
        self.boots, self.booted_s = self.boots + 1, self.true_s


@given(SECONDS, st.lists(st.tuples(SECONDS, TIMES), max_size=5))
def test_within_one_boot_the_time_of_day_is_no_matter(left_s, steps):
    machine = Machine()
    lease = InstanceLease.of(left_s, machine.now())
    for pause_s, off_s in steps:
        machine.true_s += pause_s
        machine.off_s = off_s - 2e9
        lease = lease.at(machine.now())
    assert lease.left_s == pytest.approx(left_s - machine.true_s, abs=1e-3)


@given(SECONDS, st.lists(st.tuples(SECONDS, SECONDS)))
def test_a_reboot_forgets_nothing(left_s, steps):
    machine = Machine()
    lease = InstanceLease.of(left_s, machine.now())
    for pause_s, reboot_s in steps:
        machine.true_s += pause_s
        lease = lease.at(machine.now())
        machine.true_s += reboot_s  # Nothing runs meanwhile, but the time of day.
        machine.reboot()
    assert lease.at(machine.now()).left_s == pytest.approx(left_s - machine.true_s, abs=1e-3)


@given(SECONDS, st.lists(st.tuples(SECONDS, TIMES, st.booleans())))
def test_no_clock_makes_it_longer(left_s, steps):
    """Whatever the time of day is set to, before and after reboots: what was left is never more again."""
    machine = Machine()
    lease = InstanceLease.of(left_s, machine.now())
    for pause_s, off_s, does_reboot in steps:
        machine.true_s += pause_s
        machine.off_s = off_s - 2e9
        if does_reboot:
            machine.reboot()
        later = lease.at(machine.now())
        assert later.left_s <= lease.left_s
        lease = later


@given(SECONDS, TIMES)
def test_it_is_read_as_it_was_written(left_s, time_s):
    lease = InstanceLease.of(left_s, Moment("b", 7.25, time_s))
    assert InstanceLease.parse(lease.line()) == lease


@pytest.mark.parametrize("line", ["", "b 1 2", "b 1 2 x", "b 1 2 3 4"])
def test_what_was_not_written_whole_is_none(line):
    assert InstanceLease.parse(line) is None


@pytest.mark.parametrize(
    ("left_s", "phase"), [(GRACE_S + 1, Phase.GOING), (GRACE_S, Phase.ENDING), (0.5, Phase.ENDING), (0.0, Phase.OVER)]
)
def test_jobs_are_told_before_the_end(left_s, phase):
    assert InstanceLease.of(left_s, Machine().now()).phase is phase


# -- the machine -------------------------------------------------------------------------------------------------------


@attrs.define
class Source:
    """A cloud's word, or an error."""

    said: Notice | Exception | None = None

    async def look(self) -> Notice | None:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@attrs.define
class Site:
    """One instance in virtual time. `jobs` are told to end: when, with what grace. `ends`: when it was ended."""

    directory: object
    source: Source = attrs.field(factory=Source)
    machine: Machine = attrs.field(factory=Machine)
    jobs: list = attrs.field(factory=list)
    told: list = attrs.field(factory=list)
    ends: list = attrs.field(factory=list)

    def now(self):
        self.machine.true_s = trio.current_time()
        return self.machine.now()

    def instance(self, lease_s=600.0):
        return Instance(self.directory, InstanceOptions(lease_s, ("end",), self.source, self.end), self.now)

    async def end_jobs(self, grace_s):
        self.jobs.append((self.machine.true_s, grace_s))

    async def end(self, command):
        assert command == ("end",)
        self.ends.append(self.machine.true_s)

    async def run(self, instance):
        await instance.run(self.end_jobs)

    async def watch(self, instance):
        async def tell():
            self.told.append(instance.notice)

        await instance.watch(tell)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def test_without_a_word_it_ends_when_its_lease_is_over(autojump_clock, site, nursery):
    begin_s = trio.current_time()
    nursery.start_soon(site.run, site.instance(600.0))
    await trio.sleep(600.0 - GRACE_S - 2)
    assert site.jobs == []
    await trio.sleep(4)
    first_s, grace_s = site.jobs[0]
    assert first_s - begin_s + grace_s < 600.0, "what does not end is killed before the machine ends"
    assert grace_s > GRACE_S / 2
    assert not site.ends
    await trio.sleep(GRACE_S)
    assert 0.0 <= site.ends[0] - begin_s - 600.0 <= 2 * PERIOD_S
    nursery.cancel_scope.cancel()


async def test_a_word_from_the_daemon_makes_it_longer_or_shorter(autojump_clock, site, nursery):
    instance = site.instance(600.0)
    nursery.start_soon(site.run, instance)
    await trio.sleep(500)
    instance.extend(1000.0, site.now().boot_s - 100.0)  # The daemon heard of us a hundred seconds ago.
    await trio.sleep(899 - GRACE_S)
    assert site.jobs == []
    instance.extend(30.0, site.now().boot_s)
    await trio.sleep(2)
    assert site.jobs
    await trio.sleep(30)
    assert len(site.ends) == 1
    nursery.cancel_scope.cancel()


async def test_another_agent_goes_on_with_the_lease_that_is_on_the_disk(autojump_clock, site):
    site.instance(600.0).extend(5000.0, site.now().boot_s)
    await trio.sleep(1000)
    site.machine.reboot()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.run, site.instance(600.0))
        await trio.sleep(WRITE_PERIOD_S)
        nursery.cancel_scope.cancel()
    kept = InstanceLease.parse((site.directory / FILE).read_text())
    assert kept.left_s == pytest.approx(4000.0, abs=2 * WRITE_PERIOD_S)
    assert kept.boot_id == "boot-2"


async def test_a_file_that_is_damaged_is_no_longer_lease(autojump_clock, site):
    (site.directory / FILE).write_text("boot-1 9e99")
    site.instance(600.0).extend(700.0, 0.0)
    assert InstanceLease.parse((site.directory / FILE).read_text()).left_s <= 700.0


async def test_a_notice_is_told_once_and_shortens_what_is_left(autojump_clock, site, nursery):
    instance = site.instance(10_000.0)
    nursery.start_soon(site.run, instance)
    nursery.start_soon(site.watch, instance)
    await trio.sleep(100)
    site.source.said = Unavailable("no answer")
    await trio.sleep(100)
    assert site.told == []
    site.source.said = notice = Notice(site.now().time_s + 120.0, "taken back")
    await trio.sleep(2 * NOTICE_PERIOD_S + 1)
    assert site.told == [notice]
    assert site.jobs == []
    await trio.sleep(120 - GRACE_S)
    assert site.jobs
    await trio.sleep(GRACE_S)
    assert site.ends
    nursery.cancel_scope.cancel()


async def test_that_it_is_likely_to_be_taken_back_is_told_and_changes_no_lease(autojump_clock, site, nursery):
    instance = site.instance(10_000.0)
    site.source.said = notice = Notice(None, "likely")
    nursery.start_soon(site.run, instance)
    nursery.start_soon(site.watch, instance)
    await trio.sleep(1000)
    assert (site.told, site.jobs) == ([notice], [])
    assert notice.left_s(math.inf) is None
    nursery.cancel_scope.cancel()


async def test_what_did_not_end_it_is_tried_again(autojump_clock, site, nursery):
    nursery.start_soon(site.run, site.instance(0.0))
    await trio.sleep(3 * COMMAND_PAUSE_S)
    assert len(site.ends) >= 3
    nursery.cancel_scope.cancel()


async def test_it_is_ended_by_a_program(tmp_path, caplog):
    await end_machine(("touch", str(tmp_path / "ended")))
    assert (tmp_path / "ended").exists()
    await end_machine(("/no/such/program",))
    await end_machine(("false",))
    assert [record.getMessage() for record in caplog.records] == [
        "this machine cannot be ended: [Errno 2] No such file or directory: '/no/such/program'",
        "this machine was not ended: false, exit code 1",
    ]
