"""How large the pieces of HAL are: `python -m tests.benchmarks.sizes [--json]`. No timing; the tree decides alone.

For each part of the project its files, lines and functions, how long those are, and which share of them says the types
of all its parameters and of what it returns.
"""

from __future__ import annotations

import ast
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from tests.tidy.tree import ROOT

PARTS = {
    "hal_core": ("hal_core",),
    "plugins": ("plugins", "hal_plugin_*/src"),
    "tests": ("tests", "hal_plugin_*/tests"),
}
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen
class Sizes:
    """Of one part. Lines of a function are those from its `def` to its end."""

    part: str
    file_count: int
    line_count: int
    longest_file: int
    function_count: int
    function_lines: tuple[int, int, int]
    """Median, 95 of 100, longest."""
    typed_percent: float


def sizes(part: str, paths: Iterable[Path]) -> Sizes:
    texts = [path.read_text() for path in paths]
    functions = [node for text in texts for node in functions_of(ast.parse(text))]
    lengths = sorted((node.end_lineno or node.lineno) - node.lineno + 1 for node in functions)
    lines = [len(text.splitlines()) for text in texts]
    return Sizes(
        part,
        len(texts),
        sum(lines),
        max(lines),
        len(functions),
        (int(statistics.median(lengths)), lengths[len(lengths) * 95 // 100], lengths[-1]),
        round(100.0 * sum(map(is_typed, functions)) / len(functions), 1),
    )


def functions_of(tree: ast.AST) -> Iterator[FunctionNode]:
    return (node for node in ast.walk(tree) if isinstance(node, FunctionNode))


def is_typed(function: FunctionNode) -> bool:
    """All but `self` and `cls`."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    others = [each for each in arguments if each.arg not in ("self", "cls")]
    return function.returns is not None and all(each.annotation is not None for each in others)


def main(words: list[str]) -> int:
    found = []
    for part, places in PARTS.items():
        folders = [folder for place in places for folder in ROOT.glob(place)]
        found.append(sizes(part, [path for folder in folders for path in sorted(folder.rglob("*.py"))]))
    if "--json" in words:
        print(json.dumps([attrs.asdict(each) for each in found]))
        return 0
    print("part      files   lines  longest  functions  lines of one: median, 95 %, longest  typed")
    for each in found:
        of_one = ", ".join(map(str, each.function_lines))
        print(
            f"{each.part:<8} {each.file_count:>6} {each.line_count:>7} {each.longest_file:>8} {each.function_count:>10}"
            f"  {of_one:<35} {each.typed_percent:>5.1f} %"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
