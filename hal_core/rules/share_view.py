"""How the cluster is shared: accounts and users with their shares and usage, as plain values for JSON. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hal_core.rules.elastic_jobs import elastic_of, running_counts
from hal_core.rules.usage import Used

if TYPE_CHECKING:
    from hal_core.rules.state import State


@attrs.frozen
class ShareView:
    """An account (`user` empty) or one of its users, in the order of the tree; `depth` is how many are above it.

    `share` and `used` are parts of the whole cluster, `ratio` is the mean of usage against share over all levels. Usage
    is decayed; that of an account is with all that is below it.
    """

    account: str
    user: str
    depth: int
    shares: int
    share: float
    used: float
    ratio: float
    factor: float
    cpu_s: float
    gpu_s: float
    elastic_running: int = 0
    """Elements of elastic jobs that a user has now,"""
    elastic_cpus: int = 0
    """their CPUs,"""
    elastic_share: float = 0.0
    """and what part of all such CPUs is the user's if everybody wants more; 0 for who has none."""


def share_views(state: State, now_s: float) -> list[ShareView]:
    """All of them, as they stand at that moment."""
    above = {account.name: account.parent for account in state.cluster.accounts}
    sums: dict[tuple[str, str], Used] = {}
    for payer, used in state.ledger.used(now_s):
        name = payer.account if above else ""
        sums[name, payer.user] = sums.get((name, payer.user), Used()).plus(used)
        while name in above:
            sums[name, ""] = sums.get((name, ""), Used()).plus(used)
            name = above[name]
    parts, running = elastic_of(state).shares, running_counts(state)
    return [
        ShareView(
            account=each.account,
            user=each.user,
            depth=each.depth - 1,
            shares=each.shares,
            share=each.share,
            used=each.used,
            ratio=each.ratio,
            factor=each.factor,
            cpu_s=sums.get(key, Used()).cpu_s,
            gpu_s=sums.get(key, Used()).gpu_s,
            elastic_running=running.get(key, (0, 0))[0],
            elastic_cpus=running.get(key, (0, 0))[1],
            elastic_share=parts.get(key, 0.0),
        )
        for key, each in state.fair_shares(now_s).standings.items()
    ]
