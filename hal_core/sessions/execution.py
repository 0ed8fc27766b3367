"""What a worker does with a task: the kinds of functions. Each is a callable from an item's bytes to a result's bytes.

    map    the item is one argument                 f(item)
    call   the item is (arguments, keywords)        f(*arguments, **keywords)

A function that is a context manager is entered once, when the worker gets it, and what `__enter__` returns is called;
it is left when the worker ends. So a model is loaded once and used for many tasks.

Raises whatever the task raises; the worker turns it into an error result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from hal_core.client.task_codec import dumps, loads
from hal_core.errors import WireError
from hal_core.wire.sessions import Define

Run = Callable[[bytes], bytes]


def prepare(definition: Define, entered: ExitStack) -> Run:
    """Raises what loading or entering the function raises: a missing module, for example."""
    function = loads(definition.body)
    if hasattr(type(function), "__enter__") and hasattr(type(function), "__exit__"):
        function = entered.enter_context(function)
    match definition.kind:
        case "map":
            return _map(function)
        case "call":
            return _call(function)
        case _:
            raise WireError(f"a function of the unknown kind {definition.kind!r}")


def _map(function: Callable[[Any], Any]) -> Run:
    def run(item: bytes) -> bytes:
        return dumps(function(loads(item)))

    return run


def _call(function: Callable[..., Any]) -> Run:
    def run(item: bytes) -> bytes:
        arguments, keywords = loads(item)
        return dumps(function(*arguments, **keywords))

    return run
