"""From the text of the YAML file to a `Configuration`, or to every problem at once, each with its line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import attrs

from hal_core.config.cluster import build_cluster, check_plugins
from hal_core.config.configuration import Configuration
from hal_core.config.document import BYTES_MAX, decode, read_document
from hal_core.config.idle import check_idle
from hal_core.config.kinds import INVALID, Notes, SectionOf
from hal_core.config.listening import check_listening
from hal_core.config.schema import ConfigurationFile
from hal_core.errors import InvalidInput, Problem
from hal_core.models.plugin import Load


def parse_configuration(text: str, place: str, load: Load | None = None) -> Configuration:
    """`place` names the file in messages. With `load`, plugins chosen but not installed are problems, too.

    Plugins are loaded once, and only if it could be read which of them may be. All else is pure."""
    notes = Notes()
    document = read_document(text, place, notes.problems)
    file = SectionOf(ConfigurationFile).read(document, "", notes)
    if file is INVALID:
        check_plugins(notes.sections, load, notes)
        raise InvalidInput(_in_order(notes.problems))
    return configuration_of(file, notes, load)


def configuration_of(file: ConfigurationFile, notes: Notes, load: Load | None = None) -> Configuration:
    """The configuration that the sections mean together."""
    cluster = build_cluster(file, notes)
    check_listening(file.listen, notes)
    check_idle(file.idle, [each.name for each in file.partitions], notes)
    check_plugins(attrs.asdict(file, recurse=False), load, notes)
    if notes.problems:
        raise InvalidInput(_in_order(notes.problems))
    shared = {field.name for field in attrs.fields(Configuration)} & {f.name for f in attrs.fields(ConfigurationFile)}
    sections = {name: getattr(file, name) for name in shared - {"cluster"}}
    return Configuration(cluster=cluster, places=notes.places, hooks=_hooks(file), **sections)


def _hooks(file: ConfigurationFile) -> dict[str, tuple[str, str]]:
    of_each = {each.name: (each.prolog or file.prolog, each.epilog or file.epilog) for each in file.partitions}
    return {name: hooks for name, hooks in of_each.items() if any(hooks)}


def read_configuration(path: str | Path, load: Load | None = None) -> Configuration:
    """Reads the file. Raises InvalidInput also for a file that is missing, or that everybody may change."""
    place = str(path)
    try:
        # O_NONBLOCK: a pipe must not keep the daemon waiting before it can be refused.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput([Problem(place, "is not a regular file; give the path of a YAML file")])
            if status.st_mode & stat.S_IWOTH:
                text = "every user may change this file, and with it what the daemon does; run: chmod o-w"
                raise InvalidInput([Problem(place, f"{text} {place}")])
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput([Problem(place, f"cannot be read: {error.strerror}")]) from None
    return parse_configuration(decode(data, place), place, load)


def _in_order(problems: list[Problem]) -> list[Problem]:
    """By line, so that one can go through the file from top to bottom."""

    def position(problem: Problem) -> tuple[int, ...]:
        return tuple(int(part) for part in problem.place.split(":")[-2:] if part.isdigit())

    return sorted(problems, key=position)
