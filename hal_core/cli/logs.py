"""`hal logs`: a job's output file, as the job view names it; `-f` follows it until the end, several side by side."""

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
    if not view["is_private_shown"]:
        console.note(f"job {job_id}: its output is shown to the job's owner only")
        return 1
    is_whole_array = view["array"] is not None and index is None
    if is_whole_array and (not arguments.follow or arguments.path or arguments.lines is not None):
        raise UsageError(
            f"job {job_id} is an array; each element has its own output: hal logs {job_id}_INDEX; "
            f"hal logs -f {job_id} follows all that run"
        )
    from hal_core.cli import part_logs
    from hal_core.models.patterns import expand_pattern

    pattern = (view["error_pattern"] if arguments.error else "") or view["output_pattern"]
    if not pattern:
        console.note(f"job {job_id}: it writes no output file")
        return 1
    if is_whole_array or part_logs.is_by_node(pattern):
        start_at = None if arguments.lines is None else lambda file: last_lines(file, arguments.lines)
        parts = part_logs.Parts(job_id, index, pattern, start_at)
        if arguments.follow and not arguments.path:
            return part_logs.follow(console, parts)
        return part_logs.copy(console, parts, arguments.path)
    if index is not None:
        find_element(console, job_id, index)
    path = expand_pattern(pattern, {"a": str(index)})
    if arguments.path:
        console.line(path)
        return 0
    return copy(console, arguments, path, (job_id, index))


def copy(console: Console, arguments: Namespace, path: str, job: tuple[int, int | None]) -> int:
    tail = Tail(path, sys.stdout)
    try:
        if arguments.lines is not None:
            tail.start_at(lambda file: last_lines(file, arguments.lines))
        has_output = tail.copy()
        if arguments.follow:
            view = follow(console, job, tail)
            has_output = tail.copy() or has_output
            if not has_output and not os.path.exists(path):
                console.note(f"{path} is not here: it is on another machine, or nothing was written")
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
        return wait_for_element(console, job_id, index, tail)
    return wait_for_end(console, job_id, lambda pause_s: 0.01 if tail.copy() else min(pause_s * 1.5, 0.25))


def wait_for_element(console: Console, job_id: int, index: int, tail: Tail) -> dict[str, Any]:
    """The element when it has ended. The daemon has no long wait for one."""
    pause_s = ELEMENT_PAUSE_S
    while True:
        element = find_element(console, job_id, index)[1]
        if element["state"] in FINAL:
            return element
        pause_s = ELEMENT_PAUSE_S if tail.copy() else min(pause_s * 1.2, 2.0)
        time.sleep(pause_s)


def last_lines(file: IO[bytes], number: int) -> int:
    """Where the last `number` lines begin. Reads from the end, block by block, and keeps none."""
    at = max(file.seek(0, os.SEEK_END) - 1, 0)  # The last byte, if it is a line end, is that of the last line.
    while at > 0:
        step = min(BLOCK_BYTES, at)
        at = file.seek(at - step)
        block = file.read(step)
        line_ends = block.count(b"\n")
        if line_ends >= number:
            end = len(block)
            for _ in range(number):
                end = block.rfind(b"\n", 0, end)
            return at + end + 1
        number -= line_ends
    return 0
