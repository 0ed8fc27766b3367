"""The options of the EC2 provider, as they stand in the YAML.

region: eu-central-1
name_prefix: lab
credentials: {file: /etc/hal/aws-credentials}
image: ami-0123456789abcdef0
zones: [eu-central-1a, eu-central-1b]
user_data: {file: /etc/hal/start.sh, join_token_command: [hal, agent, token, /etc/hal/cluster.yaml, "{node}"]}
offers:
  - {name: small, type: c7i.xlarge, count_max: 50, market: spot}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from hal_core import FleetOptions, Secret, UserData, check_name_prefix, check_offer_name

MARKETS = ("on-demand", "spot")
TAG_COUNT_MAX = 40
"""EC2 takes 50; the name and the cluster are ours, and AWS keeps some for itself."""


def _is_market(_: object, __: object, market: str) -> None:
    if market not in MARKETS:
        raise ValueError(f"market: expected {' or '.join(MARKETS)}, not {market!r}")


def _is_address(_: object, __: object, endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if endpoint and (parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/")):
        raise ValueError(f"endpoint: expected http(s)://HOST[:PORT], not {endpoint!r}")


def _have_names_of_their_own(_: object, __: object, offers: tuple[OfferOptions, ...]) -> None:
    twice = sorted(name for name, count in Counter(offer.name for offer in offers).items() if count > 1)
    if twice:
        raise ValueError(f"offers: each may be listed once; listed more often: {', '.join(twice)}")


def _leave_room(_: object, __: object, tags: Mapping[str, str]) -> None:
    ours = sorted(name for name in tags if name == "Name" or name.lower().startswith(("hal:", "aws:")))
    if ours:
        raise ValueError(f"tags: {', '.join(ours)} are not yours to give")
    if len(tags) > TAG_COUNT_MAX:
        raise ValueError(f"tags: expected at most {TAG_COUNT_MAX}, not {len(tags)}")


@attrs.frozen
class OfferOptions:
    """Instances of one type. What is left out is what EC2 says of the type, and of its price."""

    name: str = attrs.field(validator=check_offer_name)
    type: str
    count_max: int = attrs.field(validator=attrs.validators.ge(1))
    market: str = attrs.field(default="on-demand", validator=_is_market)
    price_per_hour: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    price_max_per_hour: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    """Of spot instances; without it, the price on demand is the most that is paid."""
    memory_bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    placement_group: str = ""
    features: tuple[str, ...] = ()
    boot_s: float = attrs.field(default=90.0, validator=attrs.validators.ge(0))


@attrs.frozen
class Ec2Options:
    """`zones` are tried in their order when one has no capacity; without them AWS chooses one for each instance.

    `credentials` are in the form of ~/.aws/credentials. `subnets`: zone -> subnet id, with the security groups that are
    for it. `endpoint`: another one than the region's.
    """

    region: str
    name_prefix: str = attrs.field(validator=check_name_prefix)
    image: str
    offers: tuple[OfferOptions, ...] = attrs.field(validator=_have_names_of_their_own)
    credentials: Secret
    profile: str = "default"
    endpoint: str = attrs.field(default="", validator=_is_address)
    zones: tuple[str, ...] = ()
    subnets: Mapping[str, str] = attrs.field(factory=dict)
    security_groups: tuple[str, ...] = ()
    key_pair: str = ""
    instance_profile: str = ""
    tags: Mapping[str, str] = attrs.field(factory=dict, validator=_leave_room)
    user_data: UserData | None = None
    call_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    settle_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    calls_max: int = attrs.field(default=4, validator=attrs.validators.ge(1))

    def __attrs_post_init__(self) -> None:
        elsewhere = sorted(set(self.subnets) - set(self.zones))
        if elsewhere:
            raise ValueError(f"subnets: {', '.join(elsewhere)} are not among the zones")
        if self.security_groups and set(self.subnets) != set(self.zones):
            raise ValueError("security_groups: they belong to a network, so every zone needs one of the subnets")
        if self.security_groups and not self.zones:
            raise ValueError("security_groups: they belong to a network: name zones, and their subnets")

    def fleet(self) -> FleetOptions:
        return FleetOptions(self.name_prefix, self.call_s, self.settle_s, self.calls_max)
