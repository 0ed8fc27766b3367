"""The ledger of a session again, from its journal."""

from __future__ import annotations

from collections.abc import Callable

from hal_core.models.ranges import RangeSet, count_of
from hal_core.sessions.journal import SessionJournal
from hal_core.sessions.ledger import Ledger
from hal_core.wire.sessions import Blocked, Define, Dropped, Rank, Results, Submit


def recover(
    journal: SessionJournal, ledger: Ledger, define: Callable[[Define], None], dropped: dict[str, RangeSet]
) -> None:
    """Two readings: the first finds what is settled, so that the second keeps only what is not.

    `define` is told of each function; `dropped` is given the tasks that will have no result, by reason.
    """
    settled, counts = RangeSet(), ledger.counts
    blocked: dict[str, str] = {}
    for message in journal.read():
        match message:
            case Define():
                define(message)
            case Rank(tag=tag, priority=priority):
                ledger.rank(tag, priority)
            case Blocked(host=host, why=why):
                blocked[host] = why
            case Results(first=first, failed=failed, values=values):
                settled.add(first, first + len(values))
                counts.failed += len(failed)
                counts.done += len(values) - len(failed)
            case Dropped(tasks=tasks, reason=reason):
                settled.update(tasks)
                dropped.setdefault(reason, RangeSet()).update(tasks)
                counts.dropped += count_of(tasks)
    for message in journal.read():
        if isinstance(message, Submit):
            ledger.restore(message.first, message.function, message.items, settled)
    for host, why in blocked.items():
        if why:
            ledger.hosts.restore(host, why)
