"""Where a trace comes from: which reader a name, or the first bytes of a file, ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import tzinfo
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

import attrs

from hal_core.config.configuration import Configuration
from hal_core.config.reading import read_configuration
from hal_core.errors import InvalidInput, NotFound, Problem, did_you_mean
from hal_core.kernel.collector import without_collector
from hal_core.kernel.journal_files import GENESIS_HASH
from hal_core.kernel.journal_format import DATABASE_NAME, decode_row
from hal_core.kernel.journal_reader import JournalReader
from hal_core.models.event import Event
from hal_core.models.node import Cluster
from hal_core.plugins import Plugins
from hal_core.sim.journal_trace import read_journal
from hal_core.sim.lines import numbered_lines
from hal_core.sim.lublin import PREFIX, Lublin
from hal_core.sim.machine import Machine
from hal_core.sim.node_list import is_node_list, read_node_list
from hal_core.sim.sacct import is_header, read_sacct
from hal_core.sim.swf import read_swf
from hal_core.sim.swim import read_swim
from hal_core.sim.trace import Trace
from hal_core.sim.uppmax import read_uppmax

PROBLEMS_SHOWN = 10
AUTOMATIC = "auto"
FORMATS = {"uppmax": read_uppmax, "swim": read_swim}
"""Of traces that name the files that jobs read; all others are told by their first bytes."""
SQLITE_MAGIC = b"SQLite format 3\0"


@attrs.frozen
class Source:
    """One TRACE of the command line."""

    name: str
    zone: tzinfo | None
    model: Lublin | None = None
    form: str = AUTOMATIC
    is_request_in_bytes: bool = False
    """Of the whole job, although it is SWF."""

    @classmethod
    def of(cls, name: str, timezone: str | None, form: str = AUTOMATIC) -> Source:
        """Raises errors.UserError for words that cannot be; whether a file is there turns out when it is read."""
        model, colon, _ = name.partition(":")
        hint = did_you_mean(f"{model}:", [PREFIX]) if colon and f"{model}:" != PREFIX else ""
        if hint and not Path(name).exists():
            raise NotFound(f"there is no file {name!r}, and no model{hint}")
        return cls(name, _zone(timezone), Lublin.parse(name) if name.startswith(PREFIX) else None, form)

    def read(self, cluster: str | None, plugins: Plugins) -> tuple[Trace, Machine]:
        """The jobs, and the machine they are replayed on. Raises errors.UserError and OSError."""
        machine = None
        if cluster is not None:
            machine = Machine(_cluster(cluster, plugins))
        with without_collector():
            trace = self._read(machine.processors if machine else None)
        if machine is None and trace.cluster is not None:
            machine = Machine(trace.cluster)
        return trace, machine or Machine.pool(trace.processors)

    def _read(self, processors: int | None) -> Trace:
        if self.model is not None:
            return self.model.trace()
        directory = journal_directory(self.name)
        if directory is not None:
            self._insist_on_swf()
            return read_journal(journal_events(directory), processors)
        with open(self.name, "rb") as stream:
            if self.form != AUTOMATIC:
                return FORMATS[self.form](stream, processors)
            is_slurm = _is_slurm(stream)
            stream.seek(0)
            if is_slurm:
                self._insist_on_swf()
                return read_sacct(stream, processors, self.zone)
            return read_swf(stream, processors, self.is_request_in_bytes)

    def _insist_on_swf(self) -> None:
        if self.is_request_in_bytes:
            text = f"is for SWF, whose memory has no unit; {self.name} says in which unit it is. Leave the option out"
            raise InvalidInput([Problem("--request-in-bytes", text)])

    def tell(self, trace: Trace, note: Callable[[str], None]) -> None:
        """What was found beside the jobs."""
        for problem in trace.problems[:PROBLEMS_SHOWN]:
            note(f"{self.name}: {problem}")
        if trace.bad_count:
            named = f"; the first {PROBLEMS_SHOWN} are named" if trace.bad_count > PROBLEMS_SHOWN else ""
            note(f"{self.name}: skipped: {trace.bad_count} (lines that cannot be read{named})")
        for reason, count in trace.left_out.items():
            note(f"{self.name}: skipped: {count} ({reason})")
        for text in trace.notes:
            note(f"{self.name}: {text}")


def journal_directory(name: str) -> Path | None:
    """The directory of HAL's journal, if that is what the name means: it, or the database in it."""
    path = Path(name)
    if path.is_dir():
        if not (path / DATABASE_NAME).is_file():
            raise NotFound(f"{name} is a directory without HAL's journal ({DATABASE_NAME})")
        return path
    if path.name == DATABASE_NAME and path.is_file():
        return path.parent
    if path.is_file():
        with open(path, "rb") as stream:
            if stream.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC:
                raise NotFound(f"{name} is a database; HAL's journal is called {DATABASE_NAME}")
    return None


def journal_events(directory: Path) -> Iterator[Event]:
    """All events, each checked against its neighbour. Raises errors.JournalDamaged and errors.Unavailable."""
    reader = JournalReader(directory)
    try:
        last_sequence, _ = reader.last()
        for row in reader.all_rows(0, GENESIS_HASH, last_sequence):
            yield decode_row(row)
    finally:
        reader.close()


def _cluster(name: str, plugins: Plugins) -> Cluster:
    """Of a configuration, or of a list of nodes as it comes with the locality workload."""
    configuration = configuration_in(name, plugins)
    if configuration is not None:
        return configuration.cluster
    with open(name, "rb") as stream:
        return read_node_list(stream, Path(name).name)


def configuration_in(name: str, plugins: Plugins) -> Configuration | None:
    """None: the file is a list of nodes. Raises errors.UserError and OSError."""
    with open(name, "rb") as stream:
        first = next((line for _, line in numbered_lines(stream) if line), b"")
    if not isinstance(first, Problem) and is_node_list(first):
        return None
    return read_configuration(name, lambda _: plugins.installed())


def _is_slurm(stream: BinaryIO) -> bool:
    """Whether the first line with anything on it names columns, as `sacct -P` does."""
    for _, line in numbered_lines(stream):
        if isinstance(line, Problem):
            return False
        if line:
            text = line.decode("utf-8", "replace")
            return is_header(text) or (not text.startswith(";") and "|" in text)
    return False


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        text = f"no time zone {name!r} is known here; write one such as Europe/Berlin or UTC"
        raise InvalidInput([Problem("--timezone", text)]) from None
