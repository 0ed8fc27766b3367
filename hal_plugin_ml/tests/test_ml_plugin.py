"""The plugin as it is installed: found, loaded, and honest about what it does not do."""

from __future__ import annotations

import subprocess
import sys

from hal_core.models.plugin import PluginStatus
from hal_core.plugins import Plugins


def test_it_loads_and_promises_nothing_that_it_cannot_do():
    (listing,) = [each for each in Plugins.load({}).listing() if each.name == "ml"]
    assert (listing.status, listing.reason) == (PluginStatus.LOADED, "")
    assert listing.distribution == "hal-plugin-ml"
    assert listing.provides == ()
    assert listing.not_yet


def test_loading_it_does_not_import_the_learning_library():
    program = "import sys, hal_plugin_ml; print(sorted({'river', 'numpy', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
