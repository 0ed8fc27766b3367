"""The options of the generic cloud, as they stand in the YAML.

driver: digitalocean
name_prefix: lab
credentials:
  key: {file: /etc/hal/digitalocean.token}
image: ubuntu-24-04-x64
location: fra1
user_data: {file: /etc/hal/start.sh}
user_data_argument: ex_user_data
offers:
  - {name: small, size: s-4vcpu-8gb, count_max: 20}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from hal_core import FleetOptions, Secret, UserData, check_name_prefix, check_offer_name

_SECRET_WORDS = ("secret", "password", "token", "key", "credential")


def _holds_no_secret(_: object, attribute: attrs.Attribute[Mapping[str, Any]], given: Mapping[str, Any]) -> None:
    for name in given:
        is_path = name.lower().endswith(("_file", "_path"))
        if not is_path and any(word in name.lower() for word in _SECRET_WORDS):
            raise ValueError(f"{name} looks like a secret: put it into a file, and name that under credentials")


def _have_names_of_their_own(_: object, __: object, offers: tuple[OfferOptions, ...]) -> None:
    twice = sorted(name for name, count in Counter(offer.name for offer in offers).items() if count > 1)
    if twice:
        raise ValueError(f"each offer may be listed once; listed more often: {', '.join(twice)}")


@attrs.frozen
class OfferOptions:
    """Machines of one of the provider's sizes. What is left out is what the provider says of the size."""

    name: str = attrs.field(validator=check_offer_name)
    size: str
    count_max: int = attrs.field(validator=attrs.validators.ge(1))
    cpu_count: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    memory_bytes: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    price_per_hour: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    gpus: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    boot_s: float = attrs.field(default=120.0, validator=attrs.validators.ge(0))


@attrs.frozen
class LibcloudOptions:
    """`driver`: libcloud's name for it, or MODULE:CLASS. `credentials`, `driver_arguments`: what its constructor takes.

    `create_arguments` go to each `create_node`, as they are; `tags` and the user data to it under the names that the
    driver has for them.
    """

    driver: str
    name_prefix: str = attrs.field(validator=check_name_prefix)
    image: str
    offers: tuple[OfferOptions, ...] = attrs.field(validator=_have_names_of_their_own)
    credentials: Mapping[str, Secret] = attrs.field(factory=dict)
    driver_arguments: Mapping[str, Any] = attrs.field(factory=dict, validator=_holds_no_secret)
    location: str = ""
    create_arguments: Mapping[str, Any] = attrs.field(factory=dict)
    tags: Mapping[str, str] = attrs.field(factory=dict)
    tags_argument: str = "ex_metadata"
    user_data: UserData | None = None
    user_data_argument: str = "ex_userdata"
    call_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    settle_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    calls_max: int = attrs.field(default=8, validator=attrs.validators.ge(1))

    def fleet(self) -> FleetOptions:
        return FleetOptions(self.name_prefix, self.call_s, self.settle_s, self.calls_max)
