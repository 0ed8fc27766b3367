"""What a job leaves as datasets: its files are measured when it has ended well, and before anybody is told of the end.

What is to be measured is on disk beside the records of the attempts, because by then the agent may be another one; to
measure again gives the same. It is done by a process of the job's owner: who names an output lets all users read it.
"""

from __future__ import annotations

import logging
import os
import posixpath
import subprocess
from pathlib import Path
from typing import Final

import attrs
import msgspec
import trio

from hal_core.agent.reading import becoming
from hal_core.errors import Refused, UserError
from hal_core.models.dataset import DataFile, MadeDataset, Output, output_of
from hal_core.models.effect import LaunchOrder
from hal_core.models.job import EndKind, Owner
from hal_core.models.message import PartStatus
from hal_core.models.placement import AttemptKey
from hal_core.wire import messages
from hal_core.wire.frames import fits

log = logging.getLogger(__name__)

DIRECTORY: Final = "outputs"
MEASURE: Final = r"""set -e
find -H "$1" -type f -printf '%s %p\0'
printf '\0'
find -H "$1" -type f -print0 | xargs -0 -r sha256sum -z --"""
"""Sizes and digests of what a path is or holds, by programs that every machine has and every user may run."""
FILES_MAX: Final = 10_000


@attrs.frozen
class _Wanted:
    owner: Owner
    outputs: tuple[str, ...]
    directory: str


@attrs.frozen
class _Measured:
    place: str
    files: tuple[DataFile, ...]


class Outputs:
    """Of the attempts of one node."""

    def __init__(self, state_directory: Path) -> None:
        self._directory = state_directory / DIRECTORY
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._begun: set[AttemptKey] = set()
        self.made: dict[AttemptKey, messages.Made] = {}
        """What was found, until the attempt is forgotten."""

    def expect(self, order: LaunchOrder, node: str) -> None:
        """Before it is launched. The first node of a gang speaks for all."""
        if order.spec.outputs and order.nodes[0][0] == node:
            wanted = _Wanted(order.owner, order.spec.outputs, order.spec.working_directory)
            self._path(order.key).write_bytes(msgspec.json.encode(wanted))

    def shown(self, status: PartStatus) -> PartStatus:
        """What may be told of it: no end while its outputs are not measured, and a bad one if they are not there."""
        end = status.end
        if end is None or end.kind is not EndKind.EXITED or end.exit_code != 0:
            return status
        made = self.made.get(status.key)
        if made is not None and made.fault:
            return attrs.evolve(status, end=attrs.evolve(end, kind=EndKind.STAGING_FAILED, detail=made.fault))
        if made is None and self._path(status.key).exists():
            return attrs.evolve(status, end=None, end_time_s=None)
        return status

    def begin(self, status: PartStatus) -> bool:
        """Whether its outputs are to be measured now: it has ended, that is not told yet, and nobody is at it."""
        is_due = status.end is not None and self.shown(status).end is None and status.key not in self._begun
        if is_due:
            self._begun.add(status.key)
        return is_due

    async def measure(self, key: AttemptKey) -> messages.Made:
        """Look at all of them. What is wrong is told with it."""
        made = messages.Made(key)
        try:
            wanted = msgspec.json.decode(self._path(key).read_bytes(), type=_Wanted)
            outputs = [await self._measured(output_of(text), wanted) for text in wanted.outputs]
            made = messages.Made(key, tuple(outputs))
            if not fits(made):
                made = messages.Made(key, fault="its outputs have too many files; make fewer and larger ones of them")
        except UserError as error:
            made = messages.Made(key, fault=str(error))
        except (OSError, ValueError, KeyError) as error:
            log.exception("the outputs of %s could not be measured", key)
            made = messages.Made(key, fault=f"its outputs could not be measured: {error}")
        self.made[key] = made
        return made

    def forget(self, key: AttemptKey) -> None:
        self._path(key).unlink(missing_ok=True)
        self._begun.discard(key)
        self.made.pop(key, None)

    def _path(self, key: AttemptKey) -> Path:
        return self._directory / str(key)

    async def _measured(self, output: Output, wanted: _Wanted) -> MadeDataset:
        path = posixpath.normpath(posixpath.join(wanted.directory, output.path))
        done = await trio.run_process(
            ["/bin/sh", "-c", MEASURE, "sh", path],
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            **becoming(wanted.owner.uid, wanted.owner.gid, wanted.owner.user),
        )
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip().partition(": ")[2]
            raise Refused(f"output {output.name}: {told or f'{path} cannot be read'}")
        place, files = files_of(path, os.fsdecode(done.stdout))
        if not 0 < len(files) <= FILES_MAX:
            raise Refused(f"output {output.name}: {len(files)} files in {path}; from 1 to {FILES_MAX} make a dataset")
        return MadeDataset(output.name, output.version, place, files)


def files_of(path: str, text: str) -> tuple[str, tuple[DataFile, ...]]:
    """The directory, and each file by its path below it, from what MEASURE prints: sizes, nothing, and digests."""
    sizes, _, digests = text.partition("\0\0")
    size_of = {name: int(size) for size, _, name in (line.partition(" ") for line in sizes.split("\0") if line)}
    digest_of = {name: digest for digest, _, name in (line.partition("  ") for line in digests.split("\0") if line)}
    place = posixpath.dirname(path) if path in size_of else path
    below = len(place.rstrip("/")) + 1
    return place, tuple(DataFile(name[below:], size_of[name], digest_of[name]) for name in sorted(size_of))
