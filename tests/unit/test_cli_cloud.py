"""`hal cloud` with the static cloud: what it offers, what it has, and the end of it."""

from __future__ import annotations

import json
import sys

import pytest
import trio

from hal_cloud_static.provider import StaticCloud
from tests.support.cli import hal

CONFIGURATION = "cluster: c\nnodes:\n  - names: [n1]\n    cpus: 4\n    memory: 8G\npartitions:\n  - name: main\n"


class Site:
    def __init__(self, directory):
        offer = {
            "name": "spare", "nodes": ["s1", "s2"], "cpu_count": 4, "memory_bytes": 8 << 30, "price_per_hour": 0.25,
            "command": [sys.executable, "-c", "import signal; signal.pause()"],
        }  # fmt: skip
        options = {"state_directory": str(directory / "cloud"), "offers": [offer]}
        self.cloud = StaticCloud.from_options(options)
        self.path = str(directory / "cluster.yaml")
        self.directory = directory
        self.write(options)

    def write(self, options):
        (self.directory / "cluster.yaml").write_text(f"{CONFIGURATION}clouds: {json.dumps({'static': options})}\n")

    def hal(self, action, *words):
        return hal("/no/daemon", "cloud", action, self.path, *words)


@pytest.fixture
async def site(tmp_path):
    site = Site(tmp_path)
    await site.cloud.provision("spare", 2, "t1")
    yield site
    await site.cloud.release([instance.native_id for instance in await site.cloud.instances()])


async def at(site, *words):
    return await trio.to_thread.run_sync(lambda: site.hal(*words))


async def test_offers(site):
    done = await at(site, "offers")
    assert [line.split() for line in done.out.splitlines()] == [
        ["CLOUD", "OFFER", "CPUS", "MEMORY", "GPUS", "PRICE/HOUR", "MOST", "BOOT"],
        ["static", "spare", "4", "8.0", "GiB", "-", "0.2500", "2", "0:05"],
    ], done
    (offer,) = json.loads((await at(site, "offers", "--json")).out)["offers"]
    assert (offer["cloud"], offer["name"], offer["node"]["cpu_count"]) == ("static", "spare", 4)


async def test_instances_and_their_end(site):
    done = await at(site, "instances")
    assert [line.split()[:4] for line in done.out.splitlines()[1:]] == [
        ["static", "s1", "spare", "ready"],
        ["static", "s2", "spare", "ready"],
    ], done
    done = await at(site, "release", "s1", "s7")
    assert done.code == 1
    assert done.out.startswith("released s1 (static, s1#1)")
    assert done.err == "hal: no cloud has an instance 's7'\n"
    assert [instance.node for instance in await site.cloud.instances()] == ["s2"]
    done = await at(site, "release", "--all")
    assert (done.code, done.out) == (0, "released s2 (static, s2#2)\n")
    assert await site.cloud.instances() == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["start"], "cloud has no action 'start'; it has offers, instances, release, pools, plan, stop, resume"),
        (["release"], "release needs the instances to end, or --all"),
        (["release", "s1", "--all"], "release needs the instances to end, or --all"),
        (["release", "--all", "--json"], "release takes no --json"),
        (["offers", "s1"], "offers takes the configuration only"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path, words, text):
    done = Site(tmp_path).hal(*words)
    assert done.code == 2
    assert text in done.err


def test_wrong_options_are_told_by_name(tmp_path):
    site = Site(tmp_path)
    site.write({"state_directory": str(tmp_path), "ofers": []})
    done = site.hal("offers")
    assert done.code != 0
    assert "did you mean 'offers'" in done.err


def test_a_configuration_without_clouds(tmp_path):
    site = Site(tmp_path)
    (tmp_path / "cluster.yaml").write_text(CONFIGURATION)
    assert "names no clouds" in site.hal("instances").err
