"""What a worker does with a task: the kinds of functions. Each is a callable from an item's bytes to a result's bytes.

    map    the item is one argument                 f(item)
    call   the item is (arguments, keywords)        f(*arguments, **keywords)

Raises whatever the task raises; the worker turns it into an error result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hal_core.client.task_codec import dumps, loads
from hal_core.errors import WireError
from hal_core.wire.sessions import Define

Run = Callable[[bytes], bytes]


def prepare(definition: Define) -> Run:
    """Raises what loading the function raises: a missing module, for example."""
    match definition.kind:
        case "map":
            return _map(loads(definition.body))
        case "call":
            return _call(loads(definition.body))
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
