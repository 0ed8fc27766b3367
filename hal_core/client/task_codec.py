"""Functions, arguments and results as bytes, between a user's program and the same user's workers.

Plain pickle where it can (it is written in C), cloudpickle for what has no importable name: lambdas, and all that was
defined in `__main__`, which is another module in a worker. Reading these bytes runs what is in them. That is right
here and nowhere else in HAL: they never leave one user's own session (docs/explanation/decisions/0020-sessions.md).
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final

from hal_core.errors import TaskFailed

PROTOCOL: Final = 5
_FAILURES: Final = (pickle.PicklingError, AttributeError, TypeError)
"""What pickle raises for things without an importable name, a different one in each version of Python."""

loads: Callable[[bytes], Any] = pickle.loads


def dumps(thing: object) -> bytes:
    """Raises whatever the thing's own pickling raises."""
    try:
        data = pickle.dumps(thing, PROTOCOL)
    except _FAILURES:
        return _dumps_by_value(thing)
    return _dumps_by_value(thing) if b"__main__" in data else data


def dumps_all(things: Sequence[object]) -> list[bytes]:
    """As `dumps`, for many at once."""
    try:
        items = list(map(pickle.dumps, things, repeat(PROTOCOL)))
    except _FAILURES:
        return list(map(dumps, things))
    if any(b"__main__" in item for item in items):
        return list(map(dumps, things))
    return items


def dumps_error(error: BaseException) -> bytes:
    """The error with its traceback as text; if it cannot be pickled, what it said."""
    text = "".join(traceback.format_exception(error)).rstrip()
    try:
        data = dumps((error, text))
        loads(data)
    except Exception:  # noqa: BLE001  anything can happen in other people's classes
        return dumps((TaskFailed(f"{type(error).__qualname__}: {error}"), text))
    return data


def loads_error(data: bytes) -> BaseException:
    """The error as it was raised there; its cause shows where."""
    error, text = loads(data)
    assert isinstance(error, BaseException)
    error.__cause__ = RemoteTraceback(text)
    return error


class RemoteTraceback(Exception):
    """Not an error: the traceback of one, from another process, to be printed with it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}\n"""'


def _dumps_by_value(thing: object) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(thing, PROTOCOL)
    return data
