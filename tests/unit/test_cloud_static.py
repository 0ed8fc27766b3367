"""The static cloud with real processes: what it starts is found again, ended whole, and never started twice."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
import trio

from hal_cloud_static.process import is_running
from hal_cloud_static.provider import StaticCloud
from hal_core import InvalidInput, NotFound, PluginError, Refused

PAUSE = "import signal; signal.pause()"


class Site:
    def __init__(self, directory):
        self.directory = directory
        self.offer = {
            "name": "spare",
            "nodes": ["s1", "s2", "s3"],
            "cpu_count": 4,
            "memory_bytes": 1 << 30,
            "command": [sys.executable, "-c", PAUSE, "{node}"],
        }

    def cloud(self, **changes):
        """A provider as a daemon that has just started would make it."""
        offers = [self.offer | changes]
        return StaticCloud.from_options({"state_directory": str(self.directory), "offers": offers, "stop_grace_s": 5})

    def fifo(self):
        """A file whose reader waits until a started program has written."""
        self.directory.mkdir(exist_ok=True)
        os.mkfifo(self.directory / "fifo")
        return self.directory / "fifo"

    def record(self):
        return json.loads((self.directory / "machines.json").read_text())


@pytest.fixture
async def site(tmp_path):
    site = Site(tmp_path / "cloud")
    yield site
    if (site.directory / "machines.json").exists():
        site.record()  # a damaged one is rewritten by its test
        cloud = site.cloud()
        await cloud.release([instance.native_id for instance in await cloud.instances()])


def pids(site):
    return [(machine["pid"], machine["start_ticks"]) for machine in site.record()["machines"]]


async def test_machines_are_started_and_ended(site):
    cloud = site.cloud()
    made = await cloud.provision("spare", 2, "t1")
    assert [instance.node for instance in made] == ["s1", "s2"]
    running = pids(site)
    assert all(is_running(*each) for each in running)
    await cloud.release([made[0].native_id])
    assert [is_running(*each) for each in running] == [False, True]
    assert [instance.node for instance in await cloud.instances()] == ["s2"]
    again = await cloud.provision("spare", 1, "t2")
    assert again[0].node == "s1"
    assert again[0].native_id != made[0].native_id


async def test_a_daemon_that_comes_back_finds_its_machines_and_its_tokens(site):
    made = await site.cloud().provision("spare", 2, "t1")
    heir = site.cloud()
    assert await heir.instances() == made
    assert await heir.provision("spare", 2, "t1") == made
    assert len(pids(site)) == 2
    await heir.release([instance.native_id for instance in made])
    assert await heir.provision("spare", 2, "t1") == []
    assert await heir.instances() == []


async def test_two_at_once_never_take_the_same_machine(site):
    cloud = site.cloud()
    made = []

    async def provision(token):
        made.extend(await cloud.provision("spare", 1, token))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(provision, f"t{number}")
    assert {instance.node for instance in made} == {"s1", "s2", "s3"}


async def test_a_machine_whose_process_ended_is_free_again(site):
    cloud = site.cloud()
    await cloud.provision("spare", 3, "t1")
    pid, _ = pids(site)[1]
    handle = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    await trio.lowlevel.wait_readable(handle)
    os.close(handle)
    assert [instance.node for instance in await cloud.instances()] == ["s1", "s3"]
    assert [instance.node for instance in await cloud.provision("spare", 1, "t2")] == ["s2"]


async def test_a_reserved_machine_is_started_by_the_repeated_token(site):
    """As after a crash between the record and the start."""
    made = await site.cloud().provision("spare", 1, "t1")
    await site.cloud().release([made[0].native_id])
    record = site.record()
    record["machines"] = [
        {"native_id": "s1#9", "offer": "spare", "node": "s1", "token": "t9", "pid": 0, "start_ticks": 0}
    ]
    record["tokens"].append("t9")
    (site.directory / "machines.json").write_text(json.dumps(record))
    assert [instance.is_ready for instance in await site.cloud().instances()] == [False]
    (instance,) = await site.cloud().provision("spare", 1, "t9")
    assert (instance.native_id, instance.is_ready) == ("s1#9", True)


async def test_a_process_that_ignores_sigterm_is_killed(site):
    ignore = "import signal, os; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({path!r}, 'w'); signal.pause()"
    ready = site.fifo()
    cloud = StaticCloud.from_options(
        {
            "state_directory": str(site.directory),
            "offers": [site.offer | {"command": [sys.executable, "-c", ignore.format(path=str(ready))]}],
            "stop_grace_s": 0.2,
        }
    )
    (instance,) = await cloud.provision("spare", 1, "t1")
    await trio.to_thread.run_sync(ready.read_text)  # returns when the program has opened it
    (running,) = pids(site)
    await cloud.release([instance.native_id])
    assert not is_running(*running)


async def test_what_cannot_be_started_leaves_nothing_behind(site):
    cloud = site.cloud(command=["/no/such/program"])
    with pytest.raises(Refused, match="cannot start '/no/such/program': No such file or directory"):
        await cloud.provision("spare", 2, "t1")
    assert await cloud.instances() == []
    assert len(await site.cloud().provision("spare", 3, "t1")) == 3


async def test_no_shell_sees_the_command(site):
    marker = site.directory / "marker"
    told = site.fifo()
    program = f"import sys, signal; open({str(told)!r}, 'w').write(sys.argv[1]); signal.pause()"
    cloud = site.cloud(command=[sys.executable, "-c", program, f"$(touch {marker}); {{node}}"])
    await cloud.provision("spare", 1, "t1")
    assert await trio.to_thread.run_sync(told.read_text) == f"$(touch {marker}); s1"
    assert not marker.exists()


async def test_a_damaged_record_is_an_error_and_never_an_empty_list(site):
    await site.cloud().provision("spare", 1, "t1")
    path = site.directory / "machines.json"
    good = path.read_bytes()
    path.write_bytes(good[:-5])
    with pytest.raises(PluginError, match=r"machines\.json is damaged"):
        await site.cloud().instances()
    path.write_bytes(good)


async def test_wrong_names_and_too_many(site):
    cloud = site.cloud()
    with pytest.raises(NotFound, match="did you mean 'spare'"):
        await cloud.provision("spar", 1, "t1")
    with pytest.raises(Refused, match="3 of 3 machines are free, 4 wanted"):
        await cloud.provision("spare", 4, "t1")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"command": []}, "expected a program and its arguments"),
        ({"nodes": []}, "nodes"),
        ({"nodes": ["s1", "s1"]}, "listed more often: s1"),
        ({"cpu_count": 0}, "cpu_count"),
        ({"price_per_hour": -1}, "price_per_hour"),
    ],
)
def test_bad_options_are_refused(tmp_path, changes, text):
    with pytest.raises(InvalidInput, match=text):
        Site(tmp_path).cloud(**changes)


async def test_a_process_that_was_started_and_not_noted_is_found_again(site):
    """As after a kill -9 between the two: there is one process, whoever asks for it next."""
    cloud = site.cloud()
    (made,) = await cloud.provision("spare", 1, "t1")
    (process,) = pids(site)
    record = site.record()
    record["machines"][0] |= {"pid": 0, "start_ticks": 0}
    (site.directory / "machines.json").write_text(json.dumps(record))

    assert await site.cloud().provision("spare", 1, "t1") == [made]
    assert pids(site) == [process]

    (site.directory / "machines.json").write_text(json.dumps(record))
    await site.cloud().release([made.native_id])
    assert not is_running(*process)
