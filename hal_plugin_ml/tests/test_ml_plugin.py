"""The plugin as it is installed: found, loaded, honest about what it does not do, and cheap until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hal_core.errors import InvalidInput
from hal_core.models.plugin import PluginStatus
from hal_core.plugins import Plugins


def test_it_loads_and_offers_a_predictor():
    (listing,) = [each for each in Plugins.load({}).listing() if each.name == "ml"]
    assert (listing.status, listing.reason) == (PluginStatus.LOADED, "")
    assert listing.distribution == "hal-plugin-ml"
    assert [(offer.plane, offer.name) for offer in listing.provides] == [("predictor", "ml")]
    assert listing.not_yet


def test_it_has_no_options():
    assert Plugins.load({}).predictor("ml") is not None
    with pytest.raises(InvalidInput, match="depth"):
        Plugins.load({}).predictor("ml", {"depth": 3})


def test_loading_it_does_not_import_numbers():
    program = "import sys, hal_plugin_ml; print(sorted({'river', 'numpy', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
