"""What the tidy tests look at: the Python files of the project, parsed once. Only files that are there to stay."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PLUGIN_ROOTS = ("plugins", "hal_plugin_slurm/src", "hal_plugin_aws/src", "hal_plugin_ml/src")
TEST_ROOTS = ("tests", "hal_plugin_slurm/tests", "hal_plugin_aws/tests", "hal_plugin_ml/tests")


@attrs.frozen(eq=False)
class Module:
    """One file. `path` is relative to the repository, `name` is dotted as it is imported."""

    path: str
    name: str
    text: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    """All that are in the tree."""

    @property
    def room(self) -> str:
        """For hal_core: the first name below it (`rules`, `kernel`, `plugins`); the empty string for the SDK itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""


@attrs.frozen
class Import:
    """`module` is the whole dotted name; for `from a import b` both `a` and `a.b` are given, one after the other."""

    module: str
    line: int
    is_for_types_only: bool
    is_at_once: bool
    """When the module is loaded, not when a function of it is called."""


def modules(*roots: str) -> tuple[Module, ...]:
    return tuple(module for root in roots for module in _modules_of(root))


@cache
def _modules_of(root: str) -> tuple[Module, ...]:
    found = []
    gc.disable()  # It would look again and again at a million nodes that all stay.
    for path in sorted((ROOT / root).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
        name = name if root != "hal_core" else f"hal_core.{name}"
        text = path.read_text()
        tree = ast.parse(text, str(path))
        nodes = tuple(ast.walk(tree))
        found.append(Module(str(path.relative_to(ROOT)), name.removesuffix(".__init__"), text, tree, nodes))
    gc.freeze()
    gc.enable()
    return tuple(found)


def product() -> tuple[Module, ...]:
    """All that is installed: the kernel, the default plugins, the separate plugins."""
    return modules("hal_core", *PLUGIN_ROOTS)


def checks() -> tuple[Module, ...]:
    return modules(*TEST_ROOTS)


@cache
def imports_of(module: Module) -> tuple[Import, ...]:
    """Absolute imports anywhere in the module, also those inside functions."""
    return tuple(_imports_of(module))


def _imports_of(module: Module) -> Iterator[Import]:
    for_types = {id(node) for block in _type_blocks(module) for node in ast.walk(block)}
    later = {id(node) for function in functions_of(module) for node in ast.walk(function)}
    for node in module.nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        is_for_types = id(node) in for_types
        is_at_once = not is_for_types and id(node) not in later
        for name in names:
            yield Import(name, node.lineno, is_for_types, is_at_once)


def functions_of(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _type_blocks(module: Module) -> Iterator[ast.If]:
    for node in module.nodes:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield node
