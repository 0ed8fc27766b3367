"""Fair share: how much of the cluster each account and user was given, against what their shares say. Pure.

Shares are divided at each level of the tree among those who have jobs now: what is nobody's wish is nobody's share. A
level's ratio is usage against share, both as parts of the whole cluster; a user's is the mean of the ratios on the way
from the top, so that who shares an account with a heavy user is later as well, but never as late as that user. The
factor is 2^-ratio: 1 for who has used nothing, one half for who is even, close to 0 far beyond it.
Where everybody always has work, order by this factor makes all ratios equal, which only usage as the shares say does:
users of one account have its ratio in common, so theirs become equal; then an account's is that of its users.
The classic formula, in which a user answers for a part of what the siblings used, has no such end (decision 0012).
A GPU-second counts as many CPU-seconds as the cluster has CPUs for each GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from hal_core.models.node import Cluster
    from hal_core.models.policy import Account
    from hal_core.rules.usage import Ledger

Who = tuple[str, str]
"""(account, user); the user is empty for the account itself."""


@attrs.frozen
class Standing:
    """Where an account (`user` empty) or a user of one stands. `share` and `used` are parts of the whole cluster."""

    account: str
    user: str
    shares: int
    share: float
    used: float
    ratio: float
    """The mean of usage against share, over all levels down to this one; 1 is even."""
    depth: int = 0

    @property
    def factor(self) -> float:
        """Between 0 and 1; 0.5 where usage is what the shares say."""
        return math.exp2(-min(self.ratio, 1000.0))


ROOT = Standing("", "", 1, 1.0, 1.0, 0.0)
GONE = Standing("", "", 0, 0.0, 0.0, math.inf)
"""Of an account that is not configured any more: it has no share, and its jobs come last."""


class FairShares:
    """All standings at one moment, of everybody whom the accounts name, who has used something or who has jobs."""

    def __init__(self, accounts: Iterable[Account], used: Mapping[Who, float], active: Iterable[Who]) -> None:
        """`used` has points and `active` those with jobs, both by account and user."""
        self._accounts = {account.name: account for account in accounts}
        self._below: dict[str, list[Account]] = {}
        for account in self._accounts.values():
            self._below.setdefault(account.parent, []).append(account)
        self._users: dict[str, dict[str, int]] = {name: dict(account.users) for name, account in self._accounts.items()}
        self._points: dict[Who, float] = {}
        self._active: set[Who] = set()
        for (account_name, user), points in used.items():
            self._know(account_name, user, points, is_active=False)
        for account_name, user in active:
            self._know(account_name, user, 0.0, is_active=True)
        self._total = self._points.get(("", ""), 0.0)
        self._shares_of: dict[str, int] = {}
        """By account: the shares of those directly below it who have jobs."""
        self.standings: dict[Who, Standing] = {}
        """In the order of the tree: each account, its users, what is below it."""
        self._descend(ROOT)

    def of(self, account: str, user: str) -> Standing:
        """The standing of a user of the account, known or new."""
        account = account if self._accounts else ""
        found = self.standings.get((account, user))
        if found is not None:
            return found
        above = self.standings.get((account, "")) if self._accounts else ROOT
        return GONE if above is None else self._below_it(above, (account, user), 1)

    def _know(self, account: str, user: str, points: float, is_active: bool) -> None:
        """Count it for the user, the account and all above it. Where there are no accounts, all are in one."""
        account = account if self._accounts else ""
        self._users.setdefault(account, {}).setdefault(user, 1)
        for who in ((account, user), *((name, "") for name in self._up(account))):
            self._points[who] = self._points.get(who, 0.0) + points
            if is_active:
                self._active.add(who)

    def _up(self, account: str) -> Iterator[str]:
        """The account, all above it, and the root; nothing for one that is gone."""
        if account and account not in self._accounts:
            return
        while account:
            yield account
            account = self._accounts[account].parent
        yield ""

    def _descend(self, top: Standing) -> None:
        todo = [top]
        while todo:
            above = todo.pop()
            if above.account:
                self.standings[above.account, ""] = above
            users = self._users.get(above.account, {}) if above.account or not self._accounts else {}
            accounts = self._below.get(above.account, ())
            children = [((above.account, user), shares) for user, shares in users.items()]
            children += [((each.name, ""), each.shares) for each in accounts]
            self._shares_of[above.account] = sum(shares for who, shares in children if who in self._active)
            found = [self._below_it(above, who, shares) for who, shares in children]
            self.standings.update(((each.account, each.user), each) for each in found if each.user)
            todo += [each for each in reversed(found) if not each.user]

    def _below_it(self, above: Standing, who: Who, shares: int) -> Standing:
        others = self._shares_of[above.account] - (shares if who in self._active else 0)
        share = above.share * shares / (others + shares)
        points = self._points.get(who, 0.0)
        used = points / self._total if points > 0.0 else 0.0
        depth = above.depth + 1
        ratio = (above.ratio * above.depth + used / share) / depth if share > 0.0 else math.inf
        return Standing(*who, shares, share, used, ratio, depth)


def points_of(cluster: Cluster) -> float:
    """What a GPU-second counts, in CPU-seconds."""
    gpus = sum(len(node.gpus) for node in cluster.nodes)
    return sum(node.cpu_count for node in cluster.nodes) / gpus if gpus else 0.0


def fair_shares(cluster: Cluster, ledger: Ledger, now_s: float) -> FairShares:
    """All standings, from what everybody has used by then."""
    gpu_points = points_of(cluster)
    points: dict[Who, float] = {}
    for payer, amounts in ledger.used(now_s):
        who = (payer.account, payer.user)
        points[who] = points.get(who, 0.0) + amounts.cpu_s + gpu_points * amounts.gpu_s
    return FairShares(cluster.accounts, points, [(payer.account, payer.user) for payer in ledger.active()])
