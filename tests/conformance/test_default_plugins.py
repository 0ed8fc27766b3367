"""The default plugins keep the contracts of their planes, found and made as the daemon does it."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from hal_core.models.plugin import PluginStatus
from hal_core.plugins import Plugins
from hal_core.testing import (
    LocalityTrial,
    check_cloud,
    check_engine,
    check_locality,
    check_locality_broken_off,
    check_observer,
    check_predictor,
)

PLUGINS = Plugins.load({})


def test_every_plugin_of_this_installation_loads():
    assert {each.name: each.reason for each in PLUGINS.listing() if each.status is not PluginStatus.LOADED} == {}


@pytest.mark.parametrize("name", PLUGINS.names("engine"))
def test_engine(name):
    check_engine(lambda: PLUGINS.engine(name))


@pytest.mark.parametrize("name", PLUGINS.names("predictor"))
def test_predictor(name):
    check_predictor(lambda: PLUGINS.predictor(name))


@pytest.fixture
def shared():
    """A directory that everybody may walk to: of others the provider says nothing."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory).resolve()


async def test_files(shared):
    (shared / "data").write_text("some")
    make = partial(PLUGINS.locality, "files", {"shared_prefixes": [str(shared)]})
    for form in ("{}", "file:{}", "file://{}", "file://localhost{}"):
        trial = LocalityTrial(form.format(shared / "data"), form.format(shared / "gone"))
        await check_locality(make, trial)
        await check_locality_broken_off(make, trial)


async def test_log(tmp_path):
    await check_observer(lambda: PLUGINS.observer("log", {"path": str(tmp_path / "events.log")}))


async def test_prometheus():
    await check_observer(lambda: PLUGINS.observer("prometheus"))


async def test_static(tmp_path):
    command = [sys.executable, "-c", "import signal; signal.pause()", "{node}"]
    offer = {"name": "spare", "nodes": ["s1", "s2"], "cpu_count": 1, "memory_bytes": 1, "command": command}
    await check_cloud(PLUGINS.cloud("static", {"state_directory": str(tmp_path / "cloud"), "offers": [offer]}))
