"""Every failpoint is on the list, once, and marked in one place of the code."""

from __future__ import annotations

import ast
from collections import Counter

from hal_core import failpoints
from tests.tidy.tree import modules


def test_the_list_of_failpoints_is_complete():
    marked = Counter(
        ast.literal_eval(call.args[0])
        for module in modules("hal_core")
        for call in module.nodes
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "reach"
    )
    assert marked == Counter(failpoints.NAMES)
