"""The plugin as it is installed: found, loaded, and honest about what it does not do yet."""

from __future__ import annotations

from hal_core.models.plugin import PluginStatus
from hal_core.plugins import Plugins


def test_it_loads_and_says_what_it_can_do():
    (listing,) = [each for each in Plugins.load({}).listing() if each.name == "aws"]
    assert (listing.status, listing.reason) == (PluginStatus.LOADED, "")
    assert listing.distribution == "hal-plugin-aws"
    assert [(each.plane, each.name) for each in listing.provides] == [
        ("locality", "s3"),
        ("cloud", "aws"),
        ("notices", "aws"),
    ]
    assert listing.not_yet
