"""The plugin as it is installed: found, loaded, and honest about what it does and does not do."""

from __future__ import annotations

import pytest

from hal_core import InvalidInput
from hal_core.models.plugin import PluginStatus
from hal_core.plugins import Plugins

PLUGINS = Plugins.load({})


def test_it_loads_and_says_what_it_does_and_does_not():
    (listing,) = [each for each in PLUGINS.listing() if each.name == "slurm"]
    assert (listing.status, listing.reason) == (PluginStatus.LOADED, "")
    assert listing.distribution == "hal-plugin-slurm"
    assert [(each.plane, each.name) for each in listing.provides] == [
        ("executor", "slurm"),
        ("cloud", "slurm"),
        ("scheduler", "slurm"),
    ]
    assert listing.not_yet


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"way": "rset"}, "did you mean 'rest'"),
        ({"way": "rest"}, "needs an address"),
        ({"address": "localhost:6820"}, "http://host:port"),
        ({"token_file": "/a", "token_command": "b"}, "give one"),
        ({"poll_s_min": 9.0, "poll_s_max": 3.0}, "less than"),
        ({"pole_s_min": 9.0}, "poll_s_min"),
        ({"state_directory": ""}, "state_directory"),
        ({"programs": "slurm/bin"}, "absolute path of one directory, such as /opt/slurm/bin"),
    ],
)
def test_wrong_options_are_named_with_what_would_work(options, words, tmp_path):
    with pytest.raises(InvalidInput, match=words):
        PLUGINS.executor("slurm", {"state_directory": str(tmp_path)} | options)
