"""The file of `hal replay --with-cloud`: a pool as a configuration has it, and how the simulated provider behaves.

Its figures are a person's to give; no price list comes with HAL. Reading is pure.
"""
# ruff: noqa: RUF009 - `setting` is attrs.field with metadata

from __future__ import annotations

import math
import types
from collections.abc import Mapping

import attrs

from hal_core.config.document import read_document
from hal_core.config.kinds import INVALID, ListOf, Notes, SectionOf, Text, choice, setting
from hal_core.config.pools import PoolTerms
from hal_core.config.scalars import COUNT_MAX, CPUS_MAX, INTERVAL, MONEY, RATE, SHARE, SLACK, SPEED, count, or_word
from hal_core.errors import InvalidInput
from hal_core.models.cloud_pool import CloudPool, Market, PoolOffer
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import shown


@attrs.frozen
class OfferSection:
    """A kind of node that can be rented, in one zone and one market."""

    name: str = setting(Text("name", parse_identifier), "of the offer", example="small")
    price_per_hour: float = setting(MONEY, "of one instance, from its request to its release", example="0.10")
    cpus: int = setting(count(1, CPUS_MAX), "of one instance", example="2")
    boot: float = setting(INTERVAL, "from the request until work can start", 120.0)
    market: Market = setting(choice(Market), "on-demand, or spot, which is taken back at times", Market.ON_DEMAND)
    speed: float = setting(SPEED, "a job that takes an hour on the site's nodes takes 1 / speed hours", 1.0)
    count_max: int = setting(count(0, COUNT_MAX), "so many instances are there at most", COUNT_MAX)
    boot_spread: float = setting(SHARE, "simulated: a boot takes up to this share longer or shorter", 0.0)
    capacity_errors: float = setting(SHARE, "simulated: so often a request finds no capacity", 0.0)
    never_joins: float = setting(SHARE, "simulated: so many instances never come up", 0.0)
    interruptions_per_hour: float = setting(RATE, "of spot: how often one instance is taken back", 0.0)


@attrs.frozen
class DeadlineSection:
    """Simulated: some jobs have a deadline."""

    share: float = setting(SHARE, "of the jobs", 0.0)
    slack: float = setting(SLACK, "of a job's limit, that it has beyond its limit", 2.0)
    spare: float = setting(INTERVAL, "and so much beside", 600.0)


@attrs.frozen
class CloudFile:
    """The whole file."""

    offers: tuple[OfferSection, ...] = setting(ListOf(SectionOf(OfferSection)), "in the order of preference")
    pool: PoolTerms = setting(SectionOf(PoolTerms), "the pool", PoolTerms())
    on_premises: float = setting(SHARE, "the share of the trace's processors that the site has itself", 1.0)
    checkpoint: float = setting(or_word("never", math.inf), "how often jobs save their work", math.inf)
    deadlines: DeadlineSection = setting(SectionOf(DeadlineSection), "which jobs have one", DeadlineSection())
    api_faults: float = setting(SHARE, "so many calls fail, before or after they were carried out", 0.0)
    seed: int = setting(count(0, 2**31), "of everything that happens by chance", 1)

    def cloud_pool(self, above: Mapping[str, str] = types.MappingProxyType({})) -> CloudPool:
        """As the pool's rule sees it. `above`: of each account of the site the one above it, or nothing."""
        offers = tuple(
            PoolOffer(
                each.name,
                each.price_per_hour,
                each.boot,
                each.count_max,
                each.market,
                each.interruptions_per_hour,
                each.speed,
            )
            for each in self.offers
        )
        return self.pool.cloud_pool("cloud", offers, above)


def parse_cloud_file(text: str, place: str) -> CloudFile:
    """Raises InvalidInput with every problem, each at its line."""
    notes = Notes()
    document = read_document(text, place, notes.problems)
    file = SectionOf(CloudFile).read(document, "", notes)
    if file is not INVALID:
        _check(file, notes)
    if notes.problems:
        raise InvalidInput(notes.problems)
    assert isinstance(file, CloudFile)
    return file


def _check(file: CloudFile, notes: Notes) -> None:
    names = [offer.name for offer in file.offers]
    for at, name in enumerate(names):
        if name in names[:at]:
            notes.at(f"offers[{at}].name", f"there is an offer {shown(name)} already; give each a name of its own")
    if not any(offer.market is Market.ON_DEMAND for offer in file.offers):
        notes.at("offers", "one of them must be sold on demand: spot is taken back, and a deadline is then kept by it")
