"""What is installed is complete: entry points, wheel contents, declared dependencies, one shape for all plugins."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions

import pytest

from tests.tidy.tree import PLUGIN_ROOTS, ROOT, imports_of, modules

SEPARATE = ("hal_plugin_slurm", "hal_plugin_aws", "hal_plugin_ml")
TOP_LEVEL = {
    *("hal_core", "plugins", *SEPARATE, "tests", "docs", "pyproject.toml"),
    *("README.md", "LICENSE", "CONTRIBUTING.md", "Makefile", ".ci", ".gitignore", "conftest.py"),
}


def project(folder="."):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def default_plugins() -> set[str]:
    return {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}


def test_every_default_plugin_has_exactly_one_entry_point():
    declared = list(project()["entry-points"]["hal"].values())
    assert sorted(declared) == sorted(default_plugins())


def test_the_top_level_is_kept_small():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {path.split("/")[0] for path in tracked.splitlines()} <= TOP_LEVEL


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in the root wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_has_all_modules_and_nothing_else(wheel):
    wanted = {module.path.removeprefix("plugins/") for module in modules("hal_core", "plugins")}
    assert wanted <= wheel, f"missing: {sorted(wanted - wheel)}"
    packages = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert packages == {"hal_core", *default_plugins()}
    assert not {name for name in wheel if "/tests/" in name or name.endswith(".pyc")}


def test_the_wheel_has_its_licence_and_types(wheel):
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
    assert "hal_core/py.typed" in wheel


@pytest.mark.parametrize("folder", SEPARATE)
def test_separate_plugins_have_one_shape(folder):
    root = ROOT / folder
    assert {path.name for path in root.iterdir()} - {"__pycache__"} <= {"pyproject.toml", "README.md", "src", "tests"}
    assert not (root / "__init__.py").exists(), "a project folder is no package"
    assert [path.name for path in (root / "src").iterdir() if path.is_dir()] == [folder]
    assert (root / "src" / folder / "py.typed").exists()
    metadata = project(folder)
    assert canonical(metadata["name"]) == canonical(folder)
    assert list(metadata["entry-points"]["hal"].values()) == [folder]
    assert metadata["license"] == project()["license"]
    assert metadata["requires-python"] == project()["requires-python"]


@pytest.mark.parametrize(
    ("folder", "roots"), [(".", ("hal_core", "plugins")), *[(name, (f"{name}/src",)) for name in SEPARATE]]
)
def test_every_library_that_is_imported_is_declared(folder, roots):
    declared = {canonical(re.split(r"[^\w.-]", each)[0]) for each in project(folder)["dependencies"]}
    if folder == ".":
        # hal_core.testing is for plugin authors and needs the test extra.
        tests_need = {canonical(re.split(r"[^\w.-]", each)[0]) for each in project()["optional-dependencies"]["test"]}
    provided_by = packages_distributions()
    extra_of = {"hal_observer_otlp": "otlp", "hal_locality_redis": "redis"}
    undeclared = set()
    for module in modules(*roots):
        for each in imports_of(module):
            top = each.module.split(".")[0]
            if top in sys.stdlib_module_names or top.startswith("hal_") or top == "launcher":
                continue
            owners = {canonical(owner) for owner in provided_by.get(top, [top])}
            allowed = declared | (tests_need if module.room == "testing" else set())
            if extra := extra_of.get(module.name.split(".")[0]):
                allowed |= {
                    canonical(re.split(r"[^\w.-]", each)[0]) for each in project()["optional-dependencies"][extra]
                }
            if not owners & allowed:
                undeclared.add(f"{module.path} imports {top} of {sorted(owners)}")
    assert not undeclared


def test_every_plugin_root_is_known_to_the_tools():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert set(PLUGIN_ROOTS) <= set(tools["mypy"]["files"])
    assert set(PLUGIN_ROOTS) <= set(tools["ruff"]["src"])
