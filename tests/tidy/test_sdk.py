"""The SDK is one list in two forms (for type checkers, for the lazy loader) that must agree, and it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import hal_core
from tests.tidy.tree import ROOT, imports_of, modules


def test_what_type_checkers_see_is_what_is_loaded():
    (module,) = [module for module in modules("hal_core") if module.name == "hal_core.__init__" or not module.room]
    seen = {
        tuple(each.module.rsplit(".", 1))
        for each in imports_of(module)
        if each.is_for_types_only and each.module.rsplit(".", 1)[1] in hal_core.__all__
    }
    loaded = {(f"hal_core.{part}", name) for name, part in hal_core._MODULE_OF.items()}
    assert seen == loaded


def test_every_name_is_there():
    for name in hal_core.__all__:
        assert getattr(hal_core, name) is not None
    assert set(hal_core.__all__) <= set(dir(hal_core))


def test_importing_it_loads_nothing_else():
    program = "import sys; before = set(sys.modules); import hal_core; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "['hal_core']"


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(hal_core, "JobSpek")
