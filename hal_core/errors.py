"""What can go wrong, as a tree. Every error that a person may see tells what was given and what would work.

    HalError                     the base of all that HAL raises on purpose; its text is shown without a traceback
    ├── UserError                the caller asked for something that cannot be; nothing was changed
    │   ├── InvalidInput         one or more fields are wrong: carries every Problem found, not only the first
    │   ├── NotFound             no such job, node, partition, dataset or plugin (or it is hidden from the caller)
    │   ├── Refused              well formed, but the state or the caller's rights do not allow it
    │   └── Conflict             the same client id was used before with another request
    ├── Unavailable              HAL cannot do it now (disk full, inbox full, daemon not running): try again later
    │   └── NoCapacity           a provider has no more of it now, by its stock or by a quota; nothing was made
    ├── JournalDamaged           the journal is not what was written; names the sequence number
    ├── PluginError              a plugin is missing, misbehaves, or speaks another version of the SDK
    ├── SessionError             a session cannot go on; says why
    │   └── TaskFailed           a task of a session failed, and its own error could not travel
    └── WireError                a peer broke the protocol; the connection is closed

A bug is an AssertionError: it stays on, and it is the only thing that may show a traceback in the daemon's log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import attrs


class HalError(Exception):
    """The base of all errors that HAL raises on purpose."""


class UserError(HalError):
    """The caller asked for something that cannot be; nothing was changed."""


@attrs.frozen
class Problem:
    """One thing wrong with what the user gave, and the way out.

    `place` is the field, or file and line (`cluster.yaml:12`, `nodes[3].cpus`); `text` says what was given and what
    would work.
    """

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


class InvalidInput(UserError):
    """One or more fields are wrong. `problems` holds all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        assert self.problems, "InvalidInput without a problem"
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NotFound(UserError):
    """No such thing, or it is hidden from the caller (who cannot tell the two apart)."""


class Refused(UserError):
    """Well formed, but the state or the caller's rights do not allow it."""


class Conflict(UserError):
    """The same client id was used before with another request."""


class Unavailable(HalError):
    """HAL cannot do it now; `retry_after_s` says when to try again."""

    def __init__(self, text: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(text)


class NoCapacity(Unavailable):
    """A provider has no more of it now, by its own stock or by the account's quota: nothing was made, another kind or
    place may be had, and this one may be after `retry_after_s`."""


class JournalDamaged(HalError):
    """The journal is not what was written. `sequence` is the first event that cannot be trusted."""

    def __init__(self, text: str, sequence: int) -> None:
        self.sequence = sequence
        super().__init__(text)


class PluginError(HalError):
    """A plugin is missing, misbehaves, or was built for another version of the SDK."""


class SessionError(HalError):
    """A session cannot go on, or never began."""


class TaskFailed(SessionError):
    """A task failed for a reason that is no exception of its own, or one that could not be sent."""


class WireError(HalError):
    """A peer broke the protocol; the connection is closed."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest known name, else the empty string. For the end of an error text."""
    nearest = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
