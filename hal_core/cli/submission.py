"""From a split command line to a job that is taken in: reads the script, builds the request, sends it.

Nothing is interpreted. The request carries a client id, so that it can be repeated after a lost answer and is still
the same job.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from hal_core.cli.console import Console
from hal_core.cli.option_names import FLAG_NAMES, VALUE_NAMES
from hal_core.cli.usage import UsageError
from hal_core.cli.words import Split
from hal_core.client.transport import Answer, NoAnswer, insist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCRIPT_BYTES_MAX = 1024 * 1024
"""No request may be longer, so no script can be."""


def send(console: Console, request: dict[str, Any]) -> Answer:
    """Submit, again if the answer is lost. Prints the warnings. Raises what transport raises."""

    def attempt(left_s: float) -> Answer:
        return console.connection.request("POST", "/v1/jobs", request, timeout_s=left_s)

    try:
        answer = insist(attempt)
    except NoAnswer as error:
        if error.is_outcome_unknown:
            console.note(f"whether the job was taken is unknown; repeat with --client-id {request['client_id']}")
        raise
    tell_warnings(console, answer.json().get("warnings", ()))
    return answer


def tell_warnings(console: Console, warnings: Iterable[dict[str, Any]]) -> None:
    for warning in warnings:
        console.note(f"warning: {warning['place']}: {warning['text']}" if warning["place"] else warning["text"])


def request_of(console: Console, split: Split) -> dict[str, Any]:
    """The body of POST /v1/jobs. Raises UsageError, or OSError for a script that cannot be read."""
    request: dict[str, Any] = {
        "client_id": split.own.get("client-id") or random_id(),
        "options": split.options,
        "working_directory": current_directory(),
        "environment": environment(console),
    }
    has_wrap = any(name == "wrap" for name, _ in split.options)
    if split.is_command:
        if not split.rest:
            raise UsageError("after -- a command is needed, such as: hal submit -- hostname")
        request["command"] = split.rest
    elif has_wrap and split.rest:
        raise UsageError("--wrap is the whole script; leave out the script file or --wrap")
    elif not has_wrap:
        name = split.rest[0] if split.rest else "-"
        if not split.rest and sys.stdin is not None and sys.stdin.isatty():
            raise UsageError("nothing to submit; give a script, `-` to read it from stdin, or -- and a command")
        try:
            request["script"] = read_script(name)
        except ScriptError:
            if all(given in VALUE_NAMES | FLAG_NAMES for given, _ in split.options):
                raise
            # An unknown option may take a value, which then looks like the script: let the daemon say so.
        request["script_name"] = "" if name == "-" else os.path.basename(name)
        request["arguments"] = split.rest[1:]
    check_text(split)
    return request


def current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise ScriptError("the current directory is gone; change to another and try again") from None


def _if_command(name: str) -> str:
    """What to write instead if it is no file but a program, as in `hal submit sleep 10`."""
    import shutil

    is_program = "/" not in name and shutil.which(name) is not None
    return f"; a command stands behind --, as in: hal submit -- {name}" if is_program else ""


def read_script(name: str) -> str:
    """The script's text, from stdin for `-`. Raises ScriptError with the file's name."""
    try:
        if name == "-":
            content = sys.stdin.buffer.read(SCRIPT_BYTES_MAX + 1) if sys.stdin is not None else b""
        else:
            with open(name, "rb") as file:
                content = file.read(SCRIPT_BYTES_MAX + 1)
    except OSError as error:
        raise ScriptError(f"cannot open {name}: {error.strerror}{_if_command(name)}") from None
    if not content.strip():
        raise ScriptError(f"{name if name != '-' else 'stdin'} is empty; a script begins with a line such as #!/bin/sh")
    if len(content) > SCRIPT_BYTES_MAX:
        raise ScriptError(f"{name} is longer than 1 MiB; submit a short script that calls it")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        what = (
            "a program, not a script; submit it with: hal submit -- " + name if b"\0" in content else "not UTF-8 text"
        )
        raise ScriptError(f"{name} is {what} (byte {error.start})") from None


class ScriptError(OSError):
    """The script, or the directory to run it in, cannot be read."""


def environment(console: Console) -> list[str]:
    """The caller's environment; variables that are no text cannot be sent and are left out with a note."""
    found = []
    for name, value in console.environ.items():
        if is_text(name + value):
            found.append(f"{name}={value}")
        else:
            console.note(f"the environment variable {name} is not UTF-8 and is left out")
    return found


def check_text(split: Split) -> None:
    """JSON carries text only: say so here, where the word can still be named."""
    for word in [*split.rest, *(text for _, text in split.options)]:
        if not is_text(word):
            raise UsageError(f"{word!r} is not UTF-8 text")


def is_text(word: str) -> bool:
    try:
        word.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def random_id() -> str:
    """A random (version 4) UUID. Not from `uuid`, whose import costs a tenth of the whole command."""
    digits = os.urandom(16).hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) % 4]}{digits[17:20]}-{digits[20:]}"
    )
