"""What is not used here, each with its reason. A ban that hurts is lifted by changing this file, in the open."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.tidy.tree import ROOT, Module, checks, imports_of, modules, product

WORLD = {"trio", "time", "random", "os", "socket", "subprocess", "threading", "sqlite3", "secrets", "uuid", "pluggy"}
"""Clock, chance, network, disk and processes: pure code gets what it needs from them as arguments."""

UNSAFE = {"pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib"}
"""Reading these runs what is in them."""

WITHIN_ONE_USER = {"hal_core.client.task_codec"}
"""Functions and results of a session, between processes of one user: the only place that may (decision 0020)."""

PATCHING = {"unittest.mock", "mock", "pytest_mock"}
"""A test that replaces parts of the program tests the replacement. Fakes are in hal_core.testing."""


def is_pure(module: Module) -> bool:
    return module.name.startswith(("hal_core.rules", "hal_core.models", "hal_core.errors", "hal_engine_"))


def imported(module: Module, banned: set[str]) -> list[str]:
    return [
        f"{module.path}:{each.line} imports {each.module}"
        for each in imports_of(module)
        if not each.is_for_types_only and (each.module in banned or each.module.split(".")[0] in banned)
    ]


@cache
def calls(module: Module) -> list[tuple[str, ast.Call]]:
    """(dotted name of what is called, the call) for calls of plain names and attributes of them."""
    return [(ast.unparse(node.func), node) for node in module.nodes if isinstance(node, ast.Call)]


def collect(found: list[list[str]]) -> str:
    return "\n".join(line for lines in found for line in lines)


def test_pure_code_reaches_for_nothing():
    assert not (wrong := collect([imported(module, WORLD) for module in product() if is_pure(module)])), wrong


def test_pure_code_asks_no_clock():
    clocks = re.compile(r"\b(datetime\.now|datetime\.utcnow|datetime\.today|date\.today|monotonic|perf_counter)\(")
    wrong = [module.path for module in product() if is_pure(module) and clocks.search(module.text)]
    assert not wrong


def test_the_simulator_runs_on_its_own_heap():
    found = [imported(module, {"trio", "threading"}) for module in modules("hal_core") if module.room == "sim"]
    assert not (wrong := collect(found)), wrong


def test_only_the_plugin_host_knows_pluggy():
    hosts = {"hal_core.plugins", "hal_core.hookspecs"}
    found = [imported(module, {"pluggy"}) for module in product() if module.name not in hosts]
    assert not (wrong := collect(found)), wrong


def test_nothing_that_runs_what_it_reads():
    found = [imported(module, UNSAFE) for module in product() + checks() if module.name not in WITHIN_ONE_USER]
    assert not (wrong := collect(found)), wrong


def test_no_mocks():
    assert not (wrong := collect([imported(module, PATCHING) for module in checks()])), wrong


BANNED_CALLS = {
    "eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp",
}  # fmt: skip


def test_no_call_that_runs_text():
    wrong = []
    for module in product() + checks():
        for name, call in calls(module):
            has_shell = any(
                keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
                for keyword in call.keywords
            )
            if name in BANNED_CALLS or has_shell:
                wrong.append(f"{module.path}:{call.lineno} {ast.unparse(call)[:80]}")
    assert not wrong, "\n".join(wrong)


def test_print_is_for_the_command_line():
    wrong = [
        f"{module.path}:{call.lineno}"
        for module in product()
        if not module.name.startswith("hal_core.cli")
        for name, call in calls(module)
        if name in ("print", "pprint", "breakpoint", "input")
    ]
    assert not wrong, "\n".join(wrong)


BANNED_IN_TESTS = {
    "time.sleep": "wait for what you wait for",
    "monkeypatch.setattr": "pass it in",
    "pytest.skip": "say what is needed (tests/support/needs.py): in CI nothing is left out",
    "pytest.importorskip": "the test extra has it",
    "pytest.mark.skip": "delete it or mend it",
    "pytest.mark.skipif": "say what is needed (tests/support/needs.py)",
    "pytest.mark.xfail": "delete it or mend it",
}


def test_tests_neither_sleep_nor_patch_nor_skip():
    wrong = [
        f"{module.path}:{call.lineno} {name}: {BANNED_IN_TESTS[name]}"
        for module in checks()
        if module.path != "tests/support/needs.py" and not module.path.startswith("tests/benchmarks/")
        for name, call in calls(module)
        if name in BANNED_IN_TESTS
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("root", ["hal_core", "plugins", "hal_plugin_slurm", "hal_plugin_aws", "hal_plugin_ml", "docs"])
def test_nothing_is_left_for_later(root):
    """What is not done is told to users: in a plugin's `not_yet`, in the README, in an issue. Not in a remark."""
    later = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / root).rglob("*"))
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".html", ".js", ".css")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if later.search(line)
    ]
    assert not wrong, "\n".join(wrong)
