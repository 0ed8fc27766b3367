"""Who may import whom. The table is the architecture (docs/explanation/architecture.md); change both or neither."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

from hal_core import __all__ as sdk_names
from tests.tidy.tree import PLUGIN_ROOTS, TEST_ROOTS, imports_of, modules, product

ANYTHING = None
MAY_IMPORT: dict[str, set[str] | None] = {
    "errors": set(),
    "failpoints": set(),
    "models": {"errors"},
    "parsing": {"models", "errors"},
    "rules": {"models", "errors"},
    "config": {"parsing", "models", "errors"},
    "migration": {"config", "parsing", "models", "errors"},
    "wire": {"models", "errors"},
    "planes": {"models", "errors"},
    "hookspecs": set(),
    "options": {"errors"},
    "secret": {"errors"},
    "tracing": {"models", "errors"},
    "web": {"planes", "models", "errors"},
    "fleet": {"planes", "secret", "models", "errors"},
    "plugin_files": set(),
    "plugins": {"hookspecs", "planes", "plugin_files", "models", "errors"},
    "configured": {"config", "options", "plugins", "models", "errors"},
    "client": {"wire", "models", "errors"},
    "kernel": {"failpoints", "rules", "planes", "models", "errors"},
    "sim": {"rules", "planes", "models", "errors"},
    "agent": {"failpoints", "tracing", "wire", "models", "errors"},
    "sessions": {"tracing", "wire", "client", "models", "errors"},
    "rest": {"rules", "parsing", "wire", "models", "errors"},
    # Commands that run without a daemon (config check, doctor, import) read the configuration by themselves.
    "cli": {"client", "config", "configured", "migration", "plugins", "wire", "models", "errors"},
    # Composition roots: the only places that know everybody.
    "daemon": ANYTHING,
    "front": ANYTHING,
    "port": {"kernel", "parsing", "rules", "models", "errors"},
    "rentals": ANYTHING,
    "dev": ANYTHING,
    "dev_cloud": ANYTHING,
    "node_service": ANYTHING,
    "tuning_service": ANYTHING,
    "journal_service": {"kernel", "models", "errors"},
    "demo": {"client", "models", "errors"},
    "simulate": {"sim", "config", "plugins", "kernel", "planes", "models", "errors"},
    "shadow": ANYTHING,
    "scaffold": {"plugins", "errors"},
    "testing": ANYTHING,
}
FOR_TYPES_ONLY = {"rules": {"planes"}, "hookspecs": {"planes"}, "cli": {"planes"}}
"""Imports that a type checker sees and a running program does not."""

NEVER_IMPORTED = {
    "cli",
    "testing",
    "daemon",
    "front",
    "port",
    "rentals",
    "dev",
    "dev_cloud",
    "demo",
    "node_service",
    "journal_service",
    "simulate",
    "shadow",
}
"""Nobody below builds on these; a composition root may start another one."""


def test_every_room_of_the_kernel_is_in_the_table():
    rooms = {module.room for module in modules("hal_core")} - {""}
    assert rooms - MAY_IMPORT.keys() == set(), "a new room: say here what it may import"


def test_imports_go_down_only():
    wrong = []
    for module in modules("hal_core"):
        allowed = MAY_IMPORT.get(module.room, set())
        for each in imports_of(module):
            if not each.module.startswith("hal_core.") or not module.room:
                continue
            room = each.module.split(".")[1]
            if room == module.room or (room in sdk_names or room == "__version__"):
                continue
            if each.is_for_types_only and room in FOR_TYPES_ONLY.get(module.room, set()):
                continue
            is_free = allowed is ANYTHING and (room not in NEVER_IMPORTED or MAY_IMPORT[module.room] is ANYTHING)
            if not is_free and (allowed is ANYTHING or room not in allowed):
                wrong.append(f"{module.path}:{each.line} imports {each.module}")
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports():
    """Also within a room: what is loaded first is a question that nobody should have to ask."""
    names = {module.name for module in product()}
    needs = {
        module.name: {each.module for each in imports_of(module) if each.is_at_once and each.module in names}
        for module in product()
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise AssertionError(" needs ".join(error.args[1])) from None


def test_the_kernel_takes_no_name_from_the_sdk():
    """`from hal_core import JobSpec` is for plugins: inside, a name is imported from where it lives."""
    wrong = [
        f"{module.path}:{each.line} imports {each.module}"
        for module in modules("hal_core")
        for each in imports_of(module)
        if module.room not in ("", "scaffold", "testing") and each.module.removeprefix("hal_core.") in sdk_names
    ]
    assert not wrong, "\n".join(wrong)


def test_the_kernel_imports_no_plugin():
    plugins = {module.name.split(".")[0] for module in modules(*PLUGIN_ROOTS)}
    wrong = [
        f"{module.path}:{each.line} imports {each.module}"
        for module in modules("hal_core")
        for each in imports_of(module)
        if each.module.split(".")[0] in plugins
    ]
    assert not wrong, "\n".join(wrong)


def test_plugins_import_the_sdk_and_nothing_deeper():
    wrong = []
    for module in modules(*PLUGIN_ROOTS):
        for each in imports_of(module):
            deeper = each.module.startswith("hal_core.") and each.module.removeprefix("hal_core.") not in sdk_names
            if deeper or each.module in ("hal_core.testing", "pluggy"):
                wrong.append(f"{module.path}:{each.line} imports {each.module}")
    assert not wrong, "\n".join(wrong)


def test_plugins_do_not_import_one_another():
    wrong = []
    for module in modules(*PLUGIN_ROOTS):
        own = module.name.split(".")[0]
        for each in imports_of(module):
            first = each.module.split(".")[0]
            if first.startswith("hal_") and first not in (own, "hal_core"):
                wrong.append(f"{module.path}:{each.line} imports {each.module}")
    assert not wrong, "\n".join(wrong)


def test_the_product_imports_no_test():
    wrong = [
        f"{module.path}:{each.line} imports {each.module}"
        for module in modules("hal_core", *PLUGIN_ROOTS)
        for each in imports_of(module)
        if each.module.split(".")[0] in ("tests", "conftest")
        or (each.module.split(".")[0] in ("pytest", "hypothesis") and module.room != "testing")
    ]
    assert not wrong, "\n".join(wrong)
    assert TEST_ROOTS[0] == "tests"


def test_loading_all_rules_loads_no_trio():
    """The single imports of the table, seen as a whole: the pure core runs without the libraries of the shells."""
    program = """
import importlib, pkgutil, sys
import hal_core.models, hal_core.rules
for package in (hal_core.models, hal_core.rules):
    for found in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{found.name}")
print(sorted({"trio", "pluggy", "cattrs", "yaml", "random", "sqlite3"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_launcher_needs_the_standard_library_only():
    """Root code: a small program without dependencies, run by path and isolated."""
    wrong = [
        f"{module.path}:{each.line} imports {each.module}"
        for module in modules("hal_core")
        if module.name.startswith("hal_core.agent.launcher")
        for each in imports_of(module)
        if each.module.split(".")[0] not in {*sys.stdlib_module_names, "launcher"}
    ]
    assert not wrong, "\n".join(wrong)
