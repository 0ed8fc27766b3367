"""`hal logs`: a job's output file, as the job view names it; `-f` follows it, or those of an array, until the end."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace

from hal_core.cli.arguments import Parser, checked, count, one_index, selector
from hal_core.cli.console import Console
from hal_core.cli.show import find_element
from hal_core.cli.tail import Tail
from hal_core.cli.usage import UsageError
from hal_core.cli.waiting import FINAL, tell_end, wait_for_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

BLOCK_BYTES = 64 * 1024
ELEMENT_PAUSE_S = 0.2


def configure(parser: Parser) -> None:
    parser.add_argument(
        "job", metavar="JOB[_INDEX]", type=checked(selector), help="a job (17) or an array element (17_3)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="keep printing until the job ends")
    parser.add_argument("-e", "--error", action="store_true", help="the error output instead")
    parser.add_argument("-n", "--lines", type=checked(count), metavar="N", help="begin with the last N lines")
    parser.add_argument("--path", action="store_true", help="print the path of the file and nothing else")


def run(console: Console, arguments: Namespace) -> int:
    job_id, index = one_index(arguments.job, "logs")
    view = console.get(f"/v1/jobs/{job_id}").json()
    if view["array"] is not None and index is None:
        return run_array(console, arguments, view, job_id)
    part = view if index is None else with_known_paths(find_element(console, job_id, index)[1], view, index)
    path = output_path(part, arguments.error)
    if path is None and view["is_private_shown"] and index is not None and arguments.follow:
        part = wait_for_element(console, job_id, index, until_path=True)
        path = output_path(part, arguments.error)
    if not path:
        console.note(f"job {job_id}: {why_no_path(view)}")
        return 1
    if arguments.path:
        console.line(path)
        return 0
    return copy(console, arguments, path, (job_id, index))


def run_array(console: Console, arguments: Namespace, view: dict[str, Any], job_id: int) -> int:
    """All elements together, as they write."""
    if not arguments.follow or arguments.path or arguments.lines is not None:
        raise UsageError(
            f"job {job_id} is an array; each element has its own output: hal logs {job_id}_INDEX; "
            f"hal logs -f {job_id} follows all that run"
        )
    if not view["is_private_shown"]:
        console.note(f"job {job_id}: {why_no_path(view)}")
        return 1
    from hal_core.cli.array_logs import follow_array

    def path_of(element: dict[str, Any], view: dict[str, Any], index: int) -> str | None:
        return output_path(with_known_paths(element, view, index), arguments.error)

    return follow_array(console, job_id, path_of)


def copy(console: Console, arguments: Namespace, path: str, job: tuple[int, int | None]) -> int:
    tail = Tail(path, sys.stdout)
    try:
        if arguments.lines is not None:
            tail.start_at(lambda file: last_lines(file, arguments.lines))
        has_output = tail.copy()
        if arguments.follow:
            view = follow(console, job, tail)
            has_output = tail.copy() or has_output
            tell_end(console, {**view, "job_id": job[0]})
        elif not has_output and not os.path.exists(path):
            console.note(f"{path}: there is no output yet, or it is on another machine")
            return 1
        return 0
    finally:
        tail.close()


def follow(console: Console, job: tuple[int, int | None], tail: Tail) -> dict[str, Any]:
    job_id, index = job
    if index is not None:
        return wait_for_element(console, job_id, index, tail=tail)
    return wait_for_end(console, job_id, lambda pause_s: 0.01 if tail.copy() else min(pause_s * 1.5, 0.25))


def wait_for_element(
    console: Console, job_id: int, index: int, tail: Tail | None = None, until_path: bool = False
) -> dict[str, Any]:
    """The element when it has ended (with `until_path`: has begun to write). The daemon has no long wait for one."""
    pause_s = ELEMENT_PAUSE_S
    while True:
        element = find_element(console, job_id, index)[1]
        if element["state"] in FINAL or (until_path and element["output_path"]):
            return element
        if tail is not None:
            pause_s = ELEMENT_PAUSE_S if tail.copy() else min(pause_s * 1.2, 2.0)
        time.sleep(pause_s)


def with_known_paths(element: dict[str, Any], view: dict[str, Any], index: int) -> dict[str, Any]:
    """The daemon names no path for elements listed together. The job's pattern gives it, unless a node is in it."""
    known = dict(element)
    for name in ("output_path", "error_path"):
        pattern = (view[name] or "").replace("%a", str(index))
        if known[name] is None and "%N" not in pattern:
            known[name] = pattern or view[name]
    return known


def output_path(part: dict[str, Any], wants_error: bool) -> str | None:
    """None: not known (yet)."""
    path = part["error_path"] if wants_error and part["error_path"] else part["output_path"]
    return None if path is None else str(path)


def why_no_path(view: dict[str, Any]) -> str:
    if not view["is_private_shown"]:
        return "its output is shown to the job's owner only"
    return "it has no output yet" if view["state"] not in FINAL else "it never wrote any output"


def last_lines(file: IO[bytes], number: int) -> int:
    """Where the last `number` lines begin. Reads from the end, never the whole file."""
    at = file.seek(0, os.SEEK_END)
    tail = b""
    while at > 0 and tail.count(b"\n") <= number:
        step = min(BLOCK_BYTES, at)
        at = file.seek(at - step)
        tail = file.read(step) + tail
    kept = tail.splitlines(keepends=True)[-number:]
    return at + len(tail) - sum(len(line) for line in kept)
