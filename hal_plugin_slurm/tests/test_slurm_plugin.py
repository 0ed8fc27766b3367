"""The plugin as it is installed: found, loaded, and honest about what it does not do."""

from __future__ import annotations

from hal_core.models.plugin import PluginStatus
from hal_core.plugins import Plugins


def test_it_loads_and_promises_nothing_that_it_cannot_do():
    (listing,) = [each for each in Plugins.load({}).listing() if each.name == "slurm"]
    assert (listing.status, listing.reason) == (PluginStatus.LOADED, "")
    assert listing.distribution == "hal-plugin-slurm"
    assert listing.provides == ()
    assert listing.not_yet
