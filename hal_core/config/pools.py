"""Cloud pools in the configuration: what may be rented, what for, and which of the nodes that is."""
# ruff: noqa: RUF009 - `setting` is attrs.field with metadata

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from hal_core.config.kinds import ListOf, MapOf, Notes, SectionOf, choice, setting
from hal_core.config.scalars import (
    BUDGET,
    COUNT_MAX,
    COUNT_OR_ALL,
    HOSTS,
    INTERVAL,
    MONEY,
    NAME,
    RATE,
    SHARE,
    SPEED,
    count,
    or_word,
)
from hal_core.errors import did_you_mean
from hal_core.models.cloud_pool import AccountBudget, CloudPool, Market, PoolOffer, SpendLimit, WaitGoal
from hal_core.models.node import Node, Partition
from hal_core.models.policy import Account
from hal_core.parsing.hosts import format_hosts
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import shown

SHOWN_MAX = 8
"""Accounts that are named to who names another."""


@attrs.frozen
class AccountBudgetSection:
    """What one account may spend of a pool's money. What is rented for its jobs serves no others."""

    budget: float = setting(MONEY, "no more than this is spent and committed for its jobs in a period", example="200")
    period: float = setting(or_word("ever", math.inf), "of the budget; ever: there is one", math.inf)


@attrs.frozen
class PoolTerms:
    """What may be rented, and what for."""

    count_max: int = setting(count(0, COUNT_MAX), "so many instances at most", 1000)
    count_min: int = setting(count(0, COUNT_MAX), "so many stay although they are idle", 0)
    idle: float | None = setting(
        or_word("boot", None), "how long an instance may be idle; boot: a quarter of its boot", None
    )
    budget: float = setting(BUDGET, "no more than this is spent and committed in a period", math.inf)
    period: float = setting(or_word("ever", math.inf), "of the budget; ever: there is one", math.inf)
    goal_share: float = setting(SHARE, "so many of the jobs are to start in time", 0.9)
    goal_within: float | None = setting(
        or_word("boot", None), "in time: within so long; boot: of the quickest offer", None
    )
    value_per_hour: float = setting(MONEY, "what it is worth that one job starts an hour earlier", 0.0)
    wait_max: float = setting(or_word("ever", math.inf), "who would wait longer is served, whatever it costs", math.inf)
    account_budgets: Mapping[str, AccountBudgetSection] = setting(
        MapOf(parse_identifier, SectionOf(AccountBudgetSection)),
        "what an account, with those below it, may spend of the pool's budget: {physics: {budget: 200, period: 30d}}",
        {},
    )

    def cloud_pool(self, name: str, offers: tuple[PoolOffer, ...], above: Mapping[str, str]) -> CloudPool:
        """As the pool's rule sees it. `above`: of each account of the site the one above it, or nothing."""
        return CloudPool(
            name,
            offers,
            self.count_max,
            self.count_min,
            self.idle,
            None if self.budget == math.inf else SpendLimit(self.budget, self.period),
            WaitGoal(self.goal_share, self.goal_within),
            self.value_per_hour,
            self.wait_max,
            account_budgets=tuple(self._account_budgets(above)),
        )

    def _account_budgets(self, above: Mapping[str, str]) -> Iterator[AccountBudget]:
        for name, each in self.account_budgets.items():
            below = tuple(below for below in above if below != name and name in _up_from(below, above))
            yield AccountBudget(name, SpendLimit(each.budget, each.period), below)


@attrs.frozen
class PoolOfferSection:
    """A kind of node of a cloud, in one zone and one market, and which nodes its instances are."""

    name: str = setting(NAME, "of the offer, as the cloud has it", example="small")
    nodes: tuple[tuple[str, ...], ...] = setting(
        ListOf(HOSTS),
        "the nodes that its instances become, all alike, as the cloud names them",
        example="lab-small-[0-19]",
    )
    price_per_hour: float = setting(
        MONEY,
        "of one instance, from its request to its release; one that is offered for more is not rented",
        example="0.10",
    )
    boot: float = setting(INTERVAL, "from the request until work can start", 120.0)
    market: Market = setting(choice(Market), "on-demand, or spot, which is taken back at times", Market.ON_DEMAND)
    speed: float = setting(SPEED, "a job that takes an hour on the site's nodes takes 1 / speed hours", 1.0)
    count_max: int | None = setting(COUNT_OR_ALL, "so many instances at most; all: as many as there are nodes", None)
    interruptions_per_hour: float = setting(RATE, "of spot: how often one instance is taken back", 0.0)
    life: float = setting(
        or_word("ever", math.inf),
        "an instance ends so long after it is ready, as an allocation of a cluster does",
        math.inf,
    )


@attrs.frozen(kw_only=True)
class CloudPoolSection(PoolTerms):
    """Nodes that are rented when they are needed, and given back."""

    name: str = setting(NAME, "of the pool", example="burst")
    cloud: str = setting(NAME, "which of the clouds supplies them", example="libcloud")
    offers: tuple[PoolOfferSection, ...] = setting(
        ListOf(SectionOf(PoolOfferSection)), "what is rented, in the order of preference"
    )
    accounts: tuple[str, ...] = setting(
        ListOf(NAME), "whose jobs it is for, and whose money its budget is; none named: everybody's", ()
    )


def pools_of(
    sections: Sequence[CloudPoolSection],
    nodes: Mapping[str, Node],
    partitions: Sequence[Partition],
    accounts: Sequence[Account],
    notes: Notes,
) -> tuple[CloudPool, ...]:
    """In the order of the file. What is wrong is noted."""
    above = {account.name: account.parent for account in accounts}
    taken: dict[str, str] = {}
    for index, section in enumerate(sections):
        path = f"pools[{index}]"
        if section.name in [each.name for each in sections[:index]]:
            notes.at(f"{path}.name", f"pool {section.name!r} is named twice")
        names = [offer.name for offer in section.offers]
        if not section.offers:
            notes.at(f"{path}.offers", "there are no offers; name at least one")
        for at, offer in enumerate(section.offers):
            below = f"{path}.offers[{at}]"
            if offer.name in names[:at]:
                notes.at(f"{below}.name", f"there is an offer {shown(offer.name)} already in this pool")
            _check_nodes(offer, f"{below}.nodes", (nodes, partitions, taken), notes)
        check_budgets(section, f"{path}.account_budgets", above, (), notes)
        _check_accounts(section, f"{path}.account_budgets", above, notes)
    return tuple(_pool(section, above) for section in sections)


def check_budgets(terms: PoolTerms, path: str, above: Mapping[str, str], known: Iterable[str], notes: Notes) -> None:
    """The accounts are known, if any are, and no job has two of them to pay."""
    names = [*above, *known]
    for name in terms.account_budgets:
        if names and name not in names:
            there_are = f"{did_you_mean(name, names)}; there are: {', '.join(sorted(set(names))[:SHOWN_MAX])}"
            notes.at(f"{path}.{name}", f"no account named {shown(name)}{there_are}")
            continue
        payers = [each for each in _up_from(name, above)[1:] if each in terms.account_budgets]
        if payers:
            text = f"account {name!r} is below {payers[0]!r}, whose budget pays for its jobs; give one of them a budget"
            notes.at(f"{path}.{name}", text)


def _check_accounts(section: CloudPoolSection, path: str, above: Mapping[str, str], notes: Notes) -> None:
    """Jobs of each account that has a budget may come."""
    for name in section.account_budgets:
        if section.accounts and not any(name in _up_from(each, above) for each in section.accounts):
            text = f"the pool is not for jobs of account {name!r}, but of: {', '.join(section.accounts)}"
            notes.at(f"{path}.{name}", text)


def _up_from(name: str, above: Mapping[str, str]) -> list[str]:
    """The account and those above it. Accounts above themselves are noted where accounts are read."""
    names = [name]
    while (name := above.get(name, "")) and name not in names:
        names.append(name)
    return names


def _check_nodes(
    offer: PoolOfferSection,
    path: str,
    known: tuple[Mapping[str, Node], Sequence[Partition], dict[str, str]],
    notes: Notes,
) -> None:
    """They are there, alike, of no other offer, and in each partition all of them or none: which comes first is the
    cloud's choice."""
    nodes, partitions, taken = known
    names = [name for part in offer.nodes for name in part]
    unknown = [name for name in names if name not in nodes]
    if unknown:
        hint = did_you_mean(unknown[0], list(nodes)[:1000])
        notes.at(path, f"no such node: {shown(format_hosts(unknown))}{hint}; describe them under `nodes`")
        return
    for name in names:
        if name in taken:
            notes.at(path, f"node {name} is of offer {taken[name]!r} already")
            return
        taken[name] = offer.name
    alike = {attrs.evolve(nodes[name], name=nodes[names[0]].name, location=(), address="") for name in names}
    if len(alike) > 1:
        notes.at(path, "its nodes differ; describe them as one group under `nodes`")
    for partition in partitions:
        inside = set(partition.nodes) & set(names)
        if inside and len(inside) < len(set(names)):
            missing = sorted(set(names) - inside)[0]
            notes.at(
                path, f"partition {partition.name!r} has some of them, but not {missing}; name all of them or none"
            )


def _pool(section: CloudPoolSection, above: Mapping[str, str]) -> CloudPool:
    return attrs.evolve(
        section.cloud_pool(section.name, tuple(_offer(each) for each in section.offers), above),
        cloud=section.cloud,
        accounts=section.accounts,
    )


def _offer(section: PoolOfferSection) -> PoolOffer:
    names = tuple(name for part in section.nodes for name in part)
    count_max = len(names) if section.count_max is None else min(section.count_max, len(names))
    terms = (section.price_per_hour, section.boot, count_max, section.market, section.interruptions_per_hour)
    return PoolOffer(section.name, *terms, section.speed, names, section.life)
