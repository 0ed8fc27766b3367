"""The code that may run as root can be read in one sitting, and lets the user in only after it has become the user."""

from __future__ import annotations

import ast
import io
import tokenize

from tests.tidy.tree import Module, modules

LINES_MAX = 1000
"""Lines of code: without documentation, comments and blank lines."""
PHYSICAL_LINES_MAX = 1500
USERS_OWN = "hal_core.agent.launcher.job"
"""What runs as the owner of the job."""


def root_code() -> list[Module]:
    launcher = [module for module in modules("hal_core") if module.name.startswith("hal_core.agent.launcher")]
    return [module for module in launcher if not module.name.startswith(USERS_OWN)]


def test_root_code_is_small() -> None:
    """S34."""
    counts = {module.path: len(code_lines(module.text)) for module in root_code()}
    assert sum(counts.values()) <= LINES_MAX, counts
    physical = {module.path: len(module.text.splitlines()) for module in root_code()}
    assert sum(physical.values()) <= PHYSICAL_LINES_MAX, physical


def test_what_is_the_users_is_called_in_few_places() -> None:
    """Only `process` starts it, in the child that has become the user; the supervisor where they are the same user."""
    callers = {
        module.name.rpartition(".")[2]
        for module in root_code()
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "job"
    }
    assert callers == {"process", "supervisor"}


def code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold code: no comments, no blank lines, no documentation."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code: set[int] = set()
    previous = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_text = token.type == tokenize.STRING and previous in silent
        if token.type not in silent and not is_text:
            code.update(range(token.start[0], token.end[0] + 1))
        previous = token.type
    return code


def test_the_count_counts_code() -> None:
    assert code_lines('"""Doc."""\nx = 1  # why\n\n# comment\ny = (\n    2,\n)\n') == {2, 5, 6, 7}
