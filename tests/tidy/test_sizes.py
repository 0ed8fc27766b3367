"""Small pieces: what does not fit on a few screens does not fit in a head. Exceptions are listed with their reason."""

from __future__ import annotations

import ast

from tests.tidy.tree import checks, functions_of, product

MODULE_LINES_MAX = 400
TEST_MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 5

EXCEPTIONS: dict[str, str] = {}
"""None today. `path` or `path:function` -> why it is larger. The module's first paragraph gives the reason too."""


def parameter_count(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """`self` and `cls` apart. Trio's `task_status` is part of its calling convention, not of ours."""
    found = function.args
    names = [each.arg for each in (*found.posonlyargs, *found.args, *found.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls", "task_status")])


def line_count(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_modules_are_small():
    sizes = {module.path: (len(module.text.splitlines()), MODULE_LINES_MAX) for module in product()}
    sizes |= {module.path: (len(module.text.splitlines()), TEST_MODULE_LINES_MAX) for module in checks()}
    wrong = {path: size for path, (size, most) in sizes.items() if size > most and path not in EXCEPTIONS}
    assert not wrong


def test_functions_are_small():
    wrong = {
        f"{module.path}:{function.name}": line_count(function)
        for module in product()
        for function in functions_of(module)
        if line_count(function) > FUNCTION_LINES_MAX
    }
    assert not {where: size for where, size in wrong.items() if where not in EXCEPTIONS}


def test_functions_take_few_parameters():
    wrong = {
        f"{module.path}:{function.name}": parameter_count(function)
        for module in product()
        for function in functions_of(module)
        if parameter_count(function) > PARAMETERS_MAX
    }
    assert not {where: size for where, size in wrong.items() if where not in EXCEPTIONS}


def test_exceptions_have_reasons_and_are_still_needed():
    paths = {module.path: module for module in product() + checks()}
    for where, reason in EXCEPTIONS.items():
        path = where.split(":")[0]
        assert path in paths, f"{where} is gone: take it off the list"
        assert reason, f"{where} has no reason"
        assert ast.get_docstring(paths[path].tree), f"{path} does not say why"
