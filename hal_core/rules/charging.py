"""What a job is charged to: its account and level of service, as asked for or by default. Pure.

Where the site has no accounts, any name is as good as another; where it has, a job goes to one that its owner may use.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from hal_core.errors import Problem, did_you_mean
from hal_core.models.job import JobSpec, Owner
from hal_core.models.node import Cluster
from hal_core.models.policy import Account


def charged(cluster: Cluster, owner: Owner, spec: JobSpec) -> tuple[JobSpec, list[Problem]]:
    """The spec with its account and level filled in, and what is wrong with those that it names."""
    problems: list[Problem] = []
    account, qos = spec.account, spec.qos
    if cluster.accounts:
        account = _account(cluster.accounts, owner, spec.account, problems)
    if cluster.qos or qos:
        qos = _qos(cluster, qos, problems)
    if (account, qos) != (spec.account, spec.qos):
        spec = attrs.evolve(spec, account=account, qos=qos)
    return spec, problems


def _account(accounts: Sequence[Account], owner: Owner, asked: str, problems: list[Problem]) -> str:
    """The one asked for; else the first that names the owner; else the first that is open to everybody."""
    if not asked:
        named = next((each.name for each in accounts if _names(each, owner.user)), "")
        found = named or next(iter(usable(accounts, owner.user)), "")
        if not found:
            problems.append(Problem("account", f"no account lets {owner.user} run jobs; ask an administrator"))
        return found
    account = next((each for each in accounts if each.name == asked), None)
    if account is None or not (_names(account, owner.user) or asked in usable(accounts, owner.user)):
        names = usable(accounts, owner.user)
        there_are = f"{did_you_mean(asked, names)}; {owner.user} may use: {', '.join(names) or 'none'}"
        what = f"no account named {asked!r}" if account is None else f"{owner.user} may not use account {asked!r}"
        problems.append(Problem("account", what + there_are))
    return asked


def usable(accounts: Sequence[Account], user: str) -> list[str]:
    """Accounts that name the user, and those that name nobody and have no account below them."""
    parents = {each.parent for each in accounts}
    return [each.name for each in accounts if _names(each, user) or not (each.users or each.name in parents)]


def _names(account: Account, user: str) -> bool:
    return any(user == name for name, _ in account.users)


def _qos(cluster: Cluster, asked: str, problems: list[Problem]) -> str:
    """The one asked for; else the default, if there is one."""
    names = [level.name for level in cluster.qos]
    if not asked:
        return next((level.name for level in cluster.qos if level.is_default), "")
    if asked not in names:
        there_are = f"; there are: {', '.join(names) or 'none'}"
        problems.append(Problem("qos", f"no quality of service named {asked!r}{did_you_mean(asked, names)}{there_are}"))
    return asked
