"""`hal shadow`: follow another scheduler without touching it, and say what HAL would have done.

A composition root: configuration, plugins, the record and the whole core. What it follows is only ever looked at.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from hal_core.config.cluster import executors_of
from hal_core.config.configuration import Configuration
from hal_core.configured import read_with_plugins
from hal_core.errors import HalError, InvalidInput, NotFound, UserError, did_you_mean
from hal_core.kernel.collector import without_collector
from hal_core.models.plural import plural
from hal_core.parsing.durations import parse_interval
from hal_core.parsing.text import placed
from hal_core.planes import ForeignScheduler
from hal_core.plugins import Plugins
from hal_core.shadow.comparison import Comparison, compare
from hal_core.shadow.decisions import decide_all, part_of
from hal_core.shadow.facts import Began
from hal_core.shadow.page import page_of
from hal_core.shadow.record import Record, read_history


class Say(Protocol):
    """How the command speaks to a person: notes stay, progress is replaced."""

    def note(self, text: str) -> None: ...

    def progress(self, text: str) -> None: ...


@attrs.frozen
class Pace:
    """A look every so many seconds, for so many in all."""

    every_s: float
    for_s: float = math.inf

    @classmethod
    def of(cls, every: str, length: str | None) -> Pace:
        """Of `30s` and `7d`. Raises errors.InvalidInput."""
        every_s = _interval_s("--every", every)
        return cls(every_s) if length is None else cls(every_s, _interval_s("--for", length))


def _interval_s(option: str, text: str) -> float:
    try:
        return parse_interval(text, least_s=1)
    except InvalidInput as error:
        raise InvalidInput(placed(error, option)) from None


def follow(path: str, record: str, executor: str | None, pace: Pace, say: Say) -> None:
    """Add to the record what is seen, until the time is over or Ctrl-C. Raises errors.UserError and OSError."""
    configuration, plugins = read_with_plugins(path)
    name, scheduler = followed(configuration, plugins, executor)
    with Record(Path(record)) as opened:
        before = opened.history.scheduler
        if before and before != name:
            raise UserError(f"{record} is a record of {before!r}, not of {name!r}; give another file")
        trio.run(follow_with, scheduler, name, opened, pace, say)


def followed(configuration: Configuration, plugins: Plugins, executor: str | None) -> tuple[str, ForeignScheduler]:
    """That of the executor of this name, or of the only one whose plugin can be followed. Raises NotFound."""
    can = plugins.names("scheduler")
    known: dict[str, tuple[str, Mapping[str, Any]]] = {
        name: (plugin, options) for name, plugin, options in executors_of(configuration.executors) if plugin in can
    }
    if executor is not None and executor not in known:
        near = did_you_mean(executor, known)
        raise NotFound(f"no executor {executor!r} that can be followed{near}; there are: {', '.join(known) or 'none'}")
    if executor is None and len(known) != 1:
        text = (
            f"several can be followed: {', '.join(known)}; choose one with --executor"
            if known
            else ("the configuration has no executor that can be followed, such as slurm; see `hal plugins --here`")
        )
        raise NotFound(text)
    name = executor or next(iter(known))
    plugin, options = known[name]
    return name, plugins.scheduler(plugin, options)


async def follow_with(scheduler: ForeignScheduler, name: str, record: Record, pace: Pace, say: Say) -> None:
    """One look after the other. One that fails is told once, and looked again."""
    is_silent = False
    record.add([Began(record.history.last_s, name)])
    begin_s = trio.current_time()
    while True:
        try:
            look = await scheduler.look()
        except HalError as error:
            if not is_silent:
                say.note(f"{name} does not answer; it is asked again: {error}")
            is_silent = True
        else:
            if is_silent:
                say.note(f"{name} answers again")
            is_silent = False
            record.add(record.history.news(look))
            open_count = len(record.history.open)
            say.progress(f"{name}: {plural(len(look.nodes), 'node')}, {plural(open_count, 'job')} run or wait")
        left_s = begin_s + pace.for_s - trio.current_time()
        if left_s <= 0:
            return
        await trio.sleep(min(pace.every_s, left_s))


def report(path: str, record: str, say: Say) -> Comparison:
    """What HAL would have done with what is in the record. Raises errors.UserError and OSError."""
    logging.getLogger("hal").addHandler(logging.NullHandler())  # What plugins log is for a daemon's log.
    configuration, plugins = read_with_plugins(path)
    history = read_history(Path(record))
    if history.begin_s is None:
        raise UserError(f"{record} holds no look yet; first: hal shadow follow {path} {record}")
    if not part_of(history, configuration.cluster).partitions:
        raise UserError(f"{path} names none of the nodes that were seen: {', '.join(sorted(history.nodes)[:5])} ...")
    say.progress(f"{plural(len(history.jobs), 'job')}: deciding")
    engine = configuration.engine
    with without_collector():
        decisions = decide_all(history, configuration.cluster, plugins.engine(engine.name, engine.options), engine.name)
    say.progress("")
    return compare(history, decisions)


def write_page(path: str, found: Comparison) -> None:
    """Whole or not at all. Raises OSError."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_text(page_of(found), encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
