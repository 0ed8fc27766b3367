"""A session at a glance, from its ledger. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from hal_core.sessions.ledger import Ledger
from hal_core.wire.sessions import Figures, HostFigures, TagFigures


def figures_of(session: str, ledger: Ledger, worker_hosts: Sequence[str], rate_per_s: float) -> Figures:
    """`worker_hosts`: where each of its workers is."""
    counts, tallies = ledger.counts, ledger.tallies()
    return Figures(
        session,
        len(worker_hosts),
        counts.waiting,
        counts.running,
        counts.done,
        counts.failed,
        counts.dropped,
        counts.retried,
        counts.lost,
        rate_per_s,
        {tag: TagFigures(each.left, each.done, each.failed, each.dropped) for tag, each in tallies.items()},
        tuple(_hosts(ledger, Counter(worker_hosts))),
    )


def _hosts(ledger: Ledger, worker_counts: Counter[str]) -> Iterator[HostFigures]:
    """All but the broker's own."""
    for host in ledger.hosts.all():
        if host.name:
            total, state = host.total(), (host.blocked_why, host.is_on_probation)
            yield HostFigures(host.name, worker_counts[host.name], total.done, total.failed, *state)
