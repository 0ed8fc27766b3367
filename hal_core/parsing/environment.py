"""The strings a job is started with: environment and arguments, within what the operating system can take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from hal_core.errors import InvalidInput, Problem
from hal_core.parsing.export import Export
from hal_core.parsing.names import parse_environment_name
from hal_core.parsing.text import placed, shown

ENVIRONMENT_BYTES_MAX: Final = 2 * 2**20
ARGUMENTS_BYTES_MAX: Final = 2**20
ARGUMENTS_MAX: Final = 65_536
STRING_BYTES_MAX: Final = 131_071
"""Linux refuses to start a program with a longer single string (MAX_ARG_STRLEN with its final NUL)."""
_FUNCTION = "BASH_FUNC_"
_PROBLEMS_MAX = 20


@lru_cache(maxsize=8)
def job_environment(given: tuple[str, ...], export: Export) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """(`NAME=value` strings that the job gets, warnings). Raises InvalidInput.

    Kept for the last few callers: ten thousand jobs in one request have the same environment, and then share it.

    Functions that a shell exported (`BASH_FUNC_...`) are left out with a warning: their names are no names, and code
    that travels unseen in variables is how Shellshock worked.
    """
    values: dict[str, str] = {}
    functions: list[str] = []
    problems: list[Problem] = []
    for text in given:
        name, equals, value = text.partition("=")
        if name.startswith(_FUNCTION):
            functions.append(name.removeprefix(_FUNCTION).rstrip("%()"))
            continue
        if not equals:
            problems.append(Problem("environment", f"{shown(text)} is not NAME=value"))
            continue
        try:
            values[parse_environment_name(name)] = value
        except InvalidInput as error:
            problems += placed(error, "environment")
    if problems:
        raise InvalidInput(problems[:_PROBLEMS_MAX])
    environment = tuple(f"{name}={value}" for name, value in export.apply(values).items())
    check_strings("environment", environment, ENVIRONMENT_BYTES_MAX)
    if not functions or not export.takes_all:
        return environment, ()
    names = ", ".join(sorted(functions)[:5]) + (", ..." if len(functions) > 5 else "")
    return environment, (Problem("environment", f"functions exported by the shell are not passed on: {names}"),)


def check_strings(place: str, texts: Sequence[str], bytes_max: int = ARGUMENTS_BYTES_MAX) -> None:
    """Refuse strings that no program could be started with: too long, too many, not UTF-8, with a NUL."""
    if len(texts) > ARGUMENTS_MAX:
        raise InvalidInput([Problem(place, f"{len(texts)} strings; at most {ARGUMENTS_MAX} can be passed")])
    total = len(texts)
    for text in texts:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise InvalidInput([Problem(place, f"{shown(text)} is not UTF-8 text")]) from None
        if "\0" in text:
            raise InvalidInput([Problem(place, f"{shown(text)} holds a NUL character")])
        if size > STRING_BYTES_MAX:
            long = f"{shown(text)} has {size} bytes; at most {STRING_BYTES_MAX} can be passed in one string"
            raise InvalidInput([Problem(place, f"{long}: put it into a file")])
        total += size
    if total > bytes_max:
        raise InvalidInput([Problem(place, f"{total} bytes; at most {bytes_max} can be passed: use a file")])
