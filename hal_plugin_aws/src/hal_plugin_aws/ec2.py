"""Instances of EC2 as `Machines`; tokens, deadlines and wrong lists are the business of HAL's Fleet.

One call for each instance: each has its own name, its own join token, and its own idempotency token at Amazon's side.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from hal_core import (
    Bootstrap,
    CloudProvider,
    Drivers,
    Fleet,
    HalError,
    Machine,
    MachineName,
    NoCapacity,
    Offer,
    Options,
    Refused,
    Unavailable,
    did_you_mean,
    structure_options,
)
from hal_plugin_aws.ec2_driver import Ec2Driver, items, text_of
from hal_plugin_aws.ec2_options import Ec2Options, OfferOptions
from hal_plugin_aws.ec2_types import Types
from hal_plugin_aws.s3_signing import parse_credentials

PLACE: Final = "clouds.aws"
CLUSTER_TAG: Final = "hal:cluster"
ZONE_PAUSE_S: Final = 300.0
"""A zone that had no capacity for a type comes last for so long."""
PAGE_LENGTH: Final = "1000"
_NOT_HERE: Final = ("Unsupported", "SpotMaxPriceTooLow", "MaxSpotInstanceCountExceeded", "UnfulfillableCapacity")
"""Codes that mean what a lack of capacity means: another zone or market may do."""


def make_cloud(options: Options) -> CloudProvider:
    structured = structure_options(Ec2Options, options, PLACE)
    return Fleet(Ec2Machines(structured), structured.fleet())


class Ec2Machines:
    """Its calls block; each thread has a connection of its own."""

    def __init__(self, options: Ec2Options) -> None:
        self._options = options
        self._offers = {offer.name: offer for offer in options.offers}
        self._drivers = Drivers(_maker(options), self._secrets, f"{PLACE}.credentials")
        self._types = Types(options, self._drivers, PLACE)
        self._lacked_s: dict[tuple[str, str, str], float] = {}
        """(zone, type, market) -> when it had no capacity."""

    def offers(self) -> Sequence[Offer]:
        return self._types.offers()

    def list(self) -> Sequence[Machine]:
        asked = {
            "Filter.1.Name": f"tag:{CLUSTER_TAG}",
            "Filter.1.Value.1": self._options.name_prefix,
            "MaxResults": PAGE_LENGTH,
        }
        with self._drivers.call("list") as driver:
            return [
                _machine(item)
                for root in driver.pages("DescribeInstances", asked)
                for item in items(root, "reservationSet/item/instancesSet/item")
            ]

    def create(self, offer: str, name: MachineName, bootstrap: Bootstrap | None = None) -> Machine:
        """In the first zone that has one."""
        chosen = self._offers[offer]
        user_data = self._options.user_data
        text = user_data.text(name.node, f"{PLACE}.user_data", bootstrap) if user_data else None
        lacks: dict[str, str] = {}
        for zone in self._zones(chosen):
            try:
                return self._create_in(zone, chosen, name, text)
            except NoCapacity as error:
                self._lacked_s[zone, chosen.type, chosen.market] = time.monotonic()
                lacks[zone] = str(error)
        raise NoCapacity("; ".join(lacks.values()), retry_after_s=ZONE_PAUSE_S)

    def destroy(self, native_id: str) -> None:
        try:
            with self._drivers.call(f"end {native_id}") as driver:
                driver.ask("TerminateInstances", {"InstanceId.1": native_id})
        except Refused as error:
            if "InvalidInstanceID" not in str(error):
                raise

    def _secrets(self) -> Mapping[str, str]:
        option = f"{PLACE}.credentials"
        found = parse_credentials(self._options.credentials.read(option), self._options.profile, option)
        known = {"key": found.access_key_id, "secret": found.secret_access_key, "token": found.session_token}
        return {name: secret for name, secret in known.items() if secret}

    def _zones(self, offer: OfferOptions) -> Sequence[str]:
        """In the order of the options, but first those that have not lacked it a moment ago."""
        since_s = time.monotonic() - ZONE_PAUSE_S

        def has_lacked(zone: str) -> bool:
            return self._lacked_s.get((zone, offer.type, offer.market), since_s) > since_s

        return sorted(self._options.zones or ("",), key=has_lacked)

    def _create_in(self, zone: str, offer: OfferOptions, name: MachineName, user_data: str | None) -> Machine:
        what = f"create {name} ({offer.type}, {offer.market}{', ' + zone if zone else ''})"
        try:
            with self._drivers.call(what) as driver:
                node = driver.create_node(**self._arguments(driver, zone, offer, name), ex_userdata=user_data)
                return Machine(str(node.id), str(name), is_ready=False, created=_time_of(node))
        except HalError as error:
            if "IdempotentParameterMismatch" in str(error):
                text = f"{what}: it was ordered before, and is not listed yet"
                raise Unavailable(text, retry_after_s=self._options.settle_s) from None
            if any(code in str(error) for code in _NOT_HERE):
                raise NoCapacity(str(error), retry_after_s=ZONE_PAUSE_S) from None
            raise

    def _arguments(self, driver: Any, zone: str, offer: OfferOptions, name: MachineName) -> dict[str, Any]:
        """What `create_node` is given."""
        from libcloud.compute.base import NodeImage, NodeSize

        options = self._options
        made: dict[str, Any] = {
            "name": str(name),
            "image": NodeImage(id=options.image, name=options.image, driver=driver),
            "size": NodeSize(offer.type, offer.type, ram=0, disk=0, bandwidth=None, price=0.0, driver=driver),
            "ex_clienttoken": hashlib.sha256(f"{name} {zone}".encode()).hexdigest(),
            "ex_metadata": {**options.tags, CLUSTER_TAG: options.name_prefix, "hal:offer": offer.name},
            "ex_terminate_on_shutdown": True,
            "ex_placement_group": offer.placement_group or None,
            "ex_keyname": options.key_pair or None,
            "ex_iamprofile": options.instance_profile or None,
        }
        if offer.market == "spot":
            made |= {"ex_spot": True, "ex_spot_max_price": offer.price_max_per_hour}
        if zone:
            made["location"] = _location(driver, zone)
        if zone in options.subnets:
            made["ex_subnet"] = _Subnet(options.subnets[zone])
            made["ex_security_group_ids"] = list(options.security_groups)
        return made


class _Subnet:
    """All that libcloud looks at of one."""

    def __init__(self, native_id: str) -> None:
        self.id = native_id


def _location(driver: Any, zone: str) -> Any:
    from libcloud.compute.drivers import ec2

    known: Any = ec2
    inside = known.ExEC2AvailabilityZone(zone, "available", driver.region_name)
    return known.EC2NodeLocation(zone, zone, "", driver, inside)


def _maker(options: Ec2Options) -> Any:
    """What makes a driver of the secrets, for `Drivers`."""
    driver: Any = Ec2Driver
    regions = driver.list_regions()
    if options.region not in regions:
        raise Refused(f"{PLACE}.region: no region {options.region!r}{did_you_mean(options.region, regions)}")
    parts = urlsplit(options.endpoint)
    is_secure = parts.scheme != "http"
    where: dict[str, Any] = {"host": parts.hostname, "secure": is_secure} if options.endpoint else {}
    if options.endpoint:
        where["port"] = parts.port or (443 if is_secure else 80)

    def make(**secrets: str) -> Any:
        # Version 4: the older one puts the key's id and the signature into the address, which others log.
        return driver(**secrets, region=options.region, signature_version="4", timeout=options.call_s, **where)

    return make


def _machine(item: Any) -> Machine:
    state = text_of(item, "instanceState/name")
    tags = {text_of(tag, "key"): text_of(tag, "value") for tag in items(item, "tagSet/item")}
    return Machine(
        text_of(item, "instanceId"),
        tags.get("Name", ""),
        is_ready=state == "running",
        is_over=state in ("shutting-down", "terminated"),
        created=text_of(item, "launchTime"),
    )


def _time_of(node: Any) -> str:
    """As the list has it: both are compared."""
    return str((node.extra or {}).get("launch_time") or "")
