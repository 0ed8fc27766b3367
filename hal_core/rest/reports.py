"""Routes of reports: the pages that `hal replay --report` and its like left in the folder that `listen.reports` names.

A page travels as text in JSON, so that no browser ever takes what lies in that folder for a page of the daemon's; the
web page shows it in a frame without scripts, connections or an origin (static/frame.html). Only plain files of that
very folder are read: no other folder is in a name, and no link is followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from hal_core.errors import NotFound, Refused
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.call import Call, Route
from hal_core.rest.rights import Verb

BYTES_MAX: Final = 16 << 20
REPORTS_MAX: Final = 1000
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,250}\.html")
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@attrs.frozen
class ReportView:
    name: str
    size_bytes: int
    time_s: float
    """When it was written."""


@attrs.frozen
class ReportsAnswer:
    directory: str
    """Empty: the configuration names none."""
    reports: tuple[ReportView, ...]
    """The latest first."""


@attrs.frozen
class ReportAnswer:
    name: str
    html: str


async def list_reports(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_REPORTS)
    directory = _directory(call)
    found = await trio.to_thread.run_sync(reports_in, directory) if directory else ()
    return json_answer(ReportsAnswer(directory, found))


async def show_report(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_REPORTS)
    name, directory = call.path["name"], _directory(call)
    if not directory:
        raise NotFound("the configuration names no folder of reports; see listen.reports")
    return await trio.to_thread.run_sync(_report_answer, directory, name)


def _report_answer(directory: str, name: str) -> Answer:
    """Blocks: a large page also takes its time to become JSON."""
    return json_answer(ReportAnswer(name, read_report(directory, name)))


def _directory(call: Call) -> str:
    return str(call.context.section("listen")["reports"])


def reports_in(directory: str) -> tuple[ReportView, ...]:
    """The reports there, the latest first, as many as a list is good for. Blocks. Raises Refused."""
    with _opened(directory) as folder, os.scandir(folder) as entries:
        found = filter(None, map(_view, entries))
        return tuple(sorted(found, key=lambda report: (-report.time_s, report.name))[:REPORTS_MAX])


def _view(entry: os.DirEntry[str]) -> ReportView | None:
    """None: it is no report, or gone."""
    if not _NAME.fullmatch(entry.name):
        return None
    try:
        info = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    return ReportView(entry.name, info.st_size, info.st_mtime) if stat.S_ISREG(info.st_mode) else None


def read_report(directory: str, name: str) -> str:
    """The page of that name in the folder. Blocks. Raises NotFound, and Refused if it is no page or too large."""
    if not _NAME.fullmatch(name):
        raise NotFound(
            f"no report is called {name!r}; their names are of letters, digits, '.', '_', '-' and end in .html"
        )
    try:
        with _opened(directory) as folder, open(os.open(name, _FLAGS, dir_fd=folder), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NotFound(f"{name!r} is no file")
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise NotFound(f"there is no report {name!r} that can be read: {error.strerror}") from None
    if len(content) > BYTES_MAX:
        raise Refused(
            f"{name!r} is larger than {BYTES_MAX >> 20} MiB; open it with a browser where it lies: {directory}"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{name!r} is not in UTF-8, so `hal` did not write it") from None


@contextmanager
def _opened(directory: str) -> Iterator[int]:
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(
            f"the folder of reports {directory} cannot be read: {error.strerror}; see listen.reports"
        ) from None
    try:
        yield folder
    finally:
        os.close(folder)


ROUTES = (
    Route(
        method="GET",
        path="/v1/reports",
        handler=list_reports,
        summary="Reports of replays, the latest first",
        answer=ReportsAnswer,
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/v1/reports/{name}",
        handler=show_report,
        summary="The page of one report",
        answer=ReportAnswer,
        reads_state=False,
    ),
)
