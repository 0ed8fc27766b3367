"""Offers: what EC2 says of a type, and what an hour of it costs. Asked for together, and kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hal_core import Drivers, InvalidInput, Node, NodeName, Offer, Problem
from hal_plugin_aws.ec2_driver import Ec2Driver, items, text_of
from hal_plugin_aws.ec2_options import Ec2Options, OfferOptions

MIB: Final = 1 << 20
KEPT_S: Final = 600.0
"""Spot prices move within the hour, seldom within minutes."""
TYPES_MAX: Final = 100
"""That one request may name."""
PRODUCT: Final = "Linux/UNIX"


@attrs.frozen
class TypeFacts:
    """`gpus`: the type of each device, in HAL's small letters."""

    cpu_count: int
    memory_bytes: int
    gpus: tuple[str, ...]


class Types:
    """The offers of the options. Blocks; of several threads that ask at once, one asks EC2."""

    def __init__(self, options: Ec2Options, drivers: Drivers, place: str) -> None:
        self._options = options
        self._drivers = drivers
        self._place = place
        self._lock = threading.Lock()
        self._offers: tuple[Offer, ...] = ()
        self._until_s = 0.0

    def offers(self) -> Sequence[Offer]:
        """Raises InvalidInput for a type that EC2 does not know, or one without a price."""
        with self._lock:
            if time.monotonic() >= self._until_s:
                self._offers = self._ask()
                self._until_s = time.monotonic() + KEPT_S
            return self._offers

    def _ask(self) -> tuple[Offer, ...]:
        wanted = sorted({offer.type for offer in self._options.offers})
        on_spot = sorted({offer.type for offer in self._options.offers if offer.market == "spot"})
        with self._drivers.call("the types of the offers") as driver:
            facts = _facts(driver, wanted)
        with self._drivers.call("spot prices") as driver:
            prices = _spot_prices(driver, on_spot, self._options.zones)
        problems: list[Problem] = []
        offers = [self._offer(each, facts, prices, problems) for each in self._options.offers]
        if problems:
            raise InvalidInput(problems)
        return tuple(offers)

    def _offer(
        self, offer: OfferOptions, facts: Mapping[str, TypeFacts], prices: Mapping[str, float], problems: list[Problem]
    ) -> Offer:
        place = f"{self._place}.offers.{offer.name}"
        known = facts.get(offer.type)
        if known is None:
            problems.append(Problem(f"{place}.type", f"{self._options.region} has no instance type {offer.type!r}"))
            known = TypeFacts(1, 1, ())
        price = offer.price_per_hour
        if price is None and offer.market == "spot":
            price = prices.get(offer.type)
        if price is None:
            price = _price_on_demand(offer.type, self._options.region)
        if price is None:
            problems.append(Problem(f"{place}.price_per_hour", f"no price of {offer.type!r} is known: give one"))
        node = Node(
            NodeName(offer.name), known.cpu_count, offer.memory_bytes or known.memory_bytes,
            gpus=known.gpus, features=offer.features,
        )  # fmt: skip
        return Offer(offer.name, node, price or 0.0, offer.count_max, offer.boot_s)


def _facts(driver: Ec2Driver, types: Sequence[str]) -> dict[str, TypeFacts]:
    """What the region says of those that it has. A filter, for a name that is unknown makes no error of it."""
    found: dict[str, TypeFacts] = {}
    for begin in range(0, len(types), TYPES_MAX):
        filters = _filter("instance-type", types[begin : begin + TYPES_MAX])
        for root in driver.pages("DescribeInstanceTypes", filters):
            for item in items(root, "instanceTypeSet/item"):
                found[text_of(item, "instanceType")] = TypeFacts(
                    int(text_of(item, "vCpuInfo/defaultVCpus")),
                    int(text_of(item, "memoryInfo/sizeInMiB")) * MIB,
                    _gpus(item),
                )
    return found


def _gpus(item: Any) -> tuple[str, ...]:
    return tuple(
        text_of(gpu, "name").lower().replace(" ", "-")
        for gpu in items(item, "gpuInfo/gpus/item")
        for _ in range(int(text_of(gpu, "count") or 0))
    )


def _spot_prices(driver: Ec2Driver, types: Sequence[str], zones: Sequence[str]) -> dict[str, float]:
    """The lowest of the last prices, over the zones that are used."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lowest: dict[str, float] = {}
    for begin in range(0, len(types), TYPES_MAX):
        filters = _filter("instance-type", types[begin : begin + TYPES_MAX])
        for root in driver.pages("DescribeSpotPriceHistory", filters | {"StartTime": now}):
            for item in items(root, "spotPriceHistorySet/item"):
                is_ours = not zones or text_of(item, "availabilityZone") in zones
                if is_ours and text_of(item, "productDescription").startswith(PRODUCT):
                    name, price = text_of(item, "instanceType"), float(text_of(item, "spotPrice"))
                    lowest[name] = min(price, lowest.get(name, price))
    return lowest


def _filter(name: str, values: Sequence[str]) -> dict[str, str]:
    return {"Filter.1.Name": name} | {f"Filter.1.Value.{number}": value for number, value in enumerate(values, 1)}


def _price_on_demand(name: str, region: str) -> float | None:
    """From the table that libcloud was published with: as old as that, and of Linux without any agreement."""
    from libcloud.pricing import get_size_price

    try:
        price = get_size_price(driver_type="compute", driver_name="ec2_linux", size_id=name, region=region)
    except KeyError:
        return None
    return float(price) if price else None
