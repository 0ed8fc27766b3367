"""Unfinished jobs by who owns them, and by owner and name: for a user's own page of the queue, and for singletons; and
which of them are elastic, or may run with several amounts."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, TypeVar

from hal_core.models.job import DependencyKind, JobId

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord

_Key = TypeVar("_Key")
_NONE: frozenset[JobId] = frozenset()


class OwnedJobs:
    """Indices that are kept together."""

    __slots__ = ("_by_name", "_by_user", "_singletons", "elastic", "varied")

    def __init__(self) -> None:
        self._by_user: dict[str, set[JobId]] = {}
        self._by_name: dict[tuple[int, str], set[JobId]] = {}
        """By owner's uid and job name."""
        self._singletons: dict[tuple[int, str], set[JobId]] = {}
        """Of these: the ones that wait for the others."""
        self.elastic: set[JobId] = set()
        self.varied: set[JobId] = set()

    def add(self, record: JobRecord) -> None:
        job_id, name = record.job_id, _name_of(record)
        self._by_user.setdefault(record.owner.user, set()).add(job_id)
        self._by_name.setdefault(name, set()).add(job_id)
        if record.spec.elastic_weight:
            self.elastic.add(job_id)
        if record.spec.variants:
            self.varied.add(job_id)
        if any(dependency.kind is DependencyKind.SINGLETON for dependency in record.spec.dependencies):
            self._singletons.setdefault(name, set()).add(job_id)

    def remove(self, record: JobRecord) -> None:
        """The job is finished."""
        job_id, name = record.job_id, _name_of(record)
        self.elastic.discard(job_id)
        self.varied.discard(job_id)
        _discard(self._by_user, record.owner.user, job_id)
        _discard(self._by_name, name, job_id)
        if name in self._singletons:
            _discard(self._singletons, name, job_id)

    def of_user(self, user: str) -> AbstractSet[JobId]:
        return self._by_user.get(user, _NONE)

    def rivals(self, record: JobRecord) -> AbstractSet[JobId]:
        """Jobs of the same owner and name, the job itself among them while it is unfinished."""
        return self._by_name.get(_name_of(record), _NONE)

    def next_singleton(self, record: JobRecord) -> JobId | None:
        """The oldest job that waits for all others of that owner and name: the only one that can be free to start."""
        return min(self._singletons.get(_name_of(record), _NONE), default=None)


def _name_of(record: JobRecord) -> tuple[int, str]:
    return record.owner.uid, record.spec.name


def _discard(index: dict[_Key, set[JobId]], key: _Key, job_id: JobId) -> None:
    members = index[key]
    members.discard(job_id)
    if not members:
        del index[key]
