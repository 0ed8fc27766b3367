"""The observer `example`: a line for each job that ended, appended to a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from hal_core import Event, JobEnded, Options, PluginInfo, Register, hookimpl, structure_options

__hal_plugin__ = PluginInfo(sdk=1, summary="a line for each job that ended")


@attrs.frozen
class ExampleOptions:
    path: str


class Example:
    """Called with what is durable, in order. One that raises or takes longer than a second is switched off."""

    def __init__(self, options: ExampleOptions) -> None:
        self._path = trio.Path(options.path)

    async def record(self, first_sequence: int, events: Sequence[Event]) -> None:
        lines = [f"{event.time_s:.3f} {event.job_id} {event.end.kind.value}\n" for event in events
                 if isinstance(event, JobEnded)]  # fmt: skip
        if lines:
            async with await self._path.open("a") as file:
                await file.write("".join(lines))


@hookimpl
def hal_register_observers(register: Register) -> None:
    register("example", lambda options: Example(_checked(options)), "a line for each job", lambda: ExampleOptions)


@hookimpl
def hal_register_trials(register: Register) -> None:
    """What `hal plugin test` makes it with, in an empty directory."""
    register("example", lambda given: {"options": {"path": f"{given['directory']}/ended.log"}})


def _checked(options: Options) -> ExampleOptions:
    given: Mapping[str, Any] = options
    return structure_options(ExampleOptions, given, "observers.example")
