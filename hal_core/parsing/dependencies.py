"""Dependencies between jobs: `afterok:1:2,afterany:3` (all must hold) or with `?` between them (one suffices).

Whether the jobs exist is for the state to say, not for this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hal_core.models.job import Dependency, DependencyKind, JobId
from hal_core.parsing.text import is_digits, shown, wrong

DEPENDENCIES_MAX: Final = 1000
_KINDS = {kind.value: kind for kind in DependencyKind}
_HINT = "write afterok:12, afterany:12:13, afterok:12,afterany:13 (all), afterok:12?afterok:13 (one) or singleton"


def parse_dependencies(text: str) -> tuple[tuple[Dependency, ...], bool]:
    """(dependencies, whether all of them must hold). A repeated one counts once."""
    if "," in text and "?" in text:
        raise wrong(f"{shown(text)} mixes , (all) and ? (one suffices); use one of the two")
    found: dict[Dependency, None] = {}
    for part in text.split("?" if "?" in text else ","):
        found.update(dict.fromkeys(_parse_part(part)))
    if len(found) > DEPENDENCIES_MAX:
        raise wrong(f"names {len(found)} jobs; at most {DEPENDENCIES_MAX} are allowed")
    return tuple(found), "?" not in text


def format_dependencies(dependencies: Sequence[Dependency], needs_all: bool) -> str:
    """The inverse of `parse_dependencies`."""
    return ("," if needs_all else "?").join(
        dependency.kind.value + ("" if dependency.kind is DependencyKind.SINGLETON else f":{dependency.job_id}")
        for dependency in dependencies
    )


def _parse_part(part: str) -> list[Dependency]:
    word, *ids = part.split(":")
    kind = _KINDS.get(word)
    if kind is None:
        raise wrong(f"{shown(part)} is not a dependency HAL knows; {_HINT}")
    if kind is DependencyKind.SINGLETON:
        if ids:
            raise wrong(f"{shown(part)}: singleton takes no job ids; {_HINT}")
        return [Dependency(kind)]
    if not ids:
        raise wrong(f"{shown(part)} names no job; {_HINT}")
    return [Dependency(kind, _parse_job_id(part, text)) for text in ids]


def _parse_job_id(part: str, text: str) -> JobId:
    if "_" in text:
        raise wrong(f"{shown(part)}: a dependency on one element of an array is not supported; name the whole job")
    if "+" in text:
        raise wrong(f"{shown(part)}: a delay after a dependency is not supported; remove the +")
    if not is_digits(text) or int(text) == 0:
        raise wrong(f"{shown(text)} in {shown(part)} is not a job id; {_HINT}")
    return JobId(int(text))
