"""In the configuration: what happens to jobs that do nothing with what they hold."""
# ruff: noqa: RUF009 - `setting` is attrs.field with metadata

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs

from hal_core.config.kinds import ListOf, Notes, Text, choice, setting
from hal_core.errors import did_you_mean
from hal_core.models.policy import PreemptMode
from hal_core.parsing.durations import format_interval, parse_interval
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import shown

_INTERVAL: Final = Text("duration", parse_interval, format_interval, {"type": ["string", "integer"]})
_NAME: Final = Text("name", parse_identifier)


@attrs.frozen
class IdleSection:
    """What happens to jobs whose CPUs do next to nothing."""

    warn: float = setting(_INTERVAL, "idle for so long, a job is told of: event, mail, webhook; 0: never", 1800.0)
    reclaim: float = setting(_INTERVAL, "idle for so long, it is ended; 0: never", 0.0)
    reclaim_mode: PreemptMode = setting(choice(PreemptMode), "what becomes of it then", PreemptMode.REQUEUE)
    partitions: tuple[str, ...] = setting(ListOf(_NAME), "where jobs are ended for it; empty: everywhere", ())


def check_idle(section: IdleSection, partitions: Collection[str], notes: Notes) -> None:
    if section.reclaim_mode is PreemptMode.SUSPEND:
        notes.at("idle.reclaim_mode", "'suspend' would leave the job where it is; it can be requeue or cancel")
    for index, name in enumerate(section.partitions):
        if name not in partitions:
            text = f"no partition named {shown(name)}{did_you_mean(name, partitions)}"
            notes.at(f"idle.partitions[{index}]", text)
