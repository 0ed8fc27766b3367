"""How the tasks of a call are treated, as `Session.using` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from hal_core.errors import InvalidInput, Problem

PRIORITY_MAX: Final = 10**6
TAG_LETTERS_MAX: Final = 64


@attrs.frozen
class Policy:
    """`retries`: how often a task that failed is tried again. Larger `priority` is earlier. `time_limit_s`: a task that
    takes longer fails, and its worker is replaced; 0 for none. `tags` are names by which tasks are cancelled, moved and
    counted."""

    retries: int = 0
    priority: int = 0
    time_limit_s: float = 0.0
    tags: tuple[str, ...] = ()


DEFAULT_POLICY: Final = Policy()


def policy_from(retries: int, priority: int, time_limit_s: float, tags: Sequence[str] | str) -> Policy:
    """Raises InvalidInput with all that cannot be."""
    try:
        names = (tags,) if isinstance(tags, str) else tuple(tags)
    except TypeError:
        raise InvalidInput([Problem("tags", f"{tags!r} is neither a tag nor a list of them")]) from None
    problems = []
    if not isinstance(retries, int) or retries < 0:
        problems.append(Problem("retries", f"{retries!r} is not a whole number from 0 on"))
    if not isinstance(priority, int) or abs(priority) > PRIORITY_MAX:
        problems.append(
            Problem("priority", f"{priority!r} is not a whole number from {-PRIORITY_MAX} to {PRIORITY_MAX}")
        )
    if not isinstance(time_limit_s, int | float) or not 0 <= time_limit_s < float("inf"):
        problems.append(Problem("time_limit_s", f"{time_limit_s!r} is not a number of seconds; 0 is for no limit"))
    problems += [Problem("tags", problem) for each in names if (problem := tag_problem(each))]
    if problems:
        raise InvalidInput(problems)
    return Policy(retries, priority, float(time_limit_s), names)


def tag_problem(tag: object) -> str:
    """What is wrong with it; empty if nothing is."""
    if isinstance(tag, str) and 0 < len(tag) <= TAG_LETTERS_MAX and tag.isprintable():
        return ""
    return f"{tag!r} is no tag; give 1 to {TAG_LETTERS_MAX} letters"
