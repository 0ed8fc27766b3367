"""The garbage collector of Python, kept out of where it would look at a hundred thousand things and find nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """For work whose results all stay and hold no cycles: looking for some would take half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def settle_collector() -> None:
    """Keep the collector from stalling the loop: what was recovered is not looked at again, and the rest rarely.

    Job records are freed by their reference counts; a full collection over a hundred thousand of them takes 300 ms and
    finds nothing. Small cycles (tracebacks, finished tasks) are still found by the young generations, of which the
    second is looked at while it is small: after 400,000 new things it took 30 ms.
    """
    gc.freeze()
    gc.set_threshold(20_000, 4, 500)
