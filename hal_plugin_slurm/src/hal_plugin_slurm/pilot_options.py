"""The options of the cloud `slurm`, as they stand in the YAML: which allocations HAL may ask Slurm for.

way: commands
name_prefix: lab
directory: /shared/hal/pilots
user_data: {file: /etc/hal/pilot.sh, join_token_command: [hal, agent, token, /etc/hal/cluster.yaml, "{node}"]}
offers:
  - {name: pilot, count_max: 20, cpu_count: 16, memory_bytes: 68719476736, walltime_s: 14400, partition: long}
"""

from __future__ import annotations

from collections import Counter

import attrs

from hal_core import FleetOptions, Node, NodeName, Offer, UserData, check_name_prefix, check_offer_name
from hal_plugin_slurm.way_options import WayOptions

MINUTE_S = 60.0
_POSITIVE = attrs.validators.ge(1)


def _have_names_of_their_own(_: object, __: object, offers: tuple[PilotOffer, ...]) -> None:
    twice = sorted(name for name, count in Counter(offer.name for offer in offers).items() if count > 1)
    if twice:
        raise ValueError(f"each offer may be listed once; listed more often: {', '.join(twice)}")


def _has_a_file(_: object, __: object, given: UserData) -> None:
    if not given.file:
        raise ValueError("user_data: expected the file of a script, for example docs/how-to/pilot.sh")


def _is_absolute(_: object, __: object, path: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"directory: expected an absolute path that Slurm's nodes have, not {path!r}")


@attrs.frozen
class PilotOffer:
    """Allocations of one kind: a node, or a part of one, for `walltime_s`. What is empty is not asked of Slurm.

    `boot_s` is how long one waits in Slurm's queue, as a rule. `price_per_hour` is what an hour is worth to the site.
    """

    name: str = attrs.field(validator=check_offer_name)
    count_max: int = attrs.field(validator=_POSITIVE)
    cpu_count: int = attrs.field(validator=_POSITIVE)
    memory_bytes: int = attrs.field(validator=_POSITIVE)
    walltime_s: float = attrs.field(validator=attrs.validators.ge(MINUTE_S))
    gpus: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    partition: str = ""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    is_exclusive: bool = False
    price_per_hour: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    boot_s: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))

    def offer(self) -> Offer:
        node = Node(NodeName(self.name), self.cpu_count, self.memory_bytes, gpus=self.gpus, features=self.features)
        return Offer(self.name, node, self.price_per_hour, self.count_max, self.boot_s)

    @property
    def gres(self) -> str:
        """As Slurm is asked for it: `gpu:a100:2`."""
        counts = Counter(self.gpus)
        return ",".join(":".join(word for word in ("gpu", kind, str(count)) if word) for kind, count in counts.items())


@attrs.frozen(kw_only=True)
class PilotOptions(WayOptions):
    """`directory` is where pilots run and leave what they write. `settle_s`: how long a list may lag behind."""

    name_prefix: str = attrs.field(validator=check_name_prefix)
    directory: str = attrs.field(validator=_is_absolute)
    user_data: UserData = attrs.field(validator=_has_a_file)
    offers: tuple[PilotOffer, ...] = attrs.field(validator=_have_names_of_their_own)
    settle_s: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    calls_max: int = attrs.field(default=8, validator=_POSITIVE)

    def fleet(self) -> FleetOptions:
        """A call gets its answer or its error from the way to Slurm, before the fleet gives it up."""
        return FleetOptions(self.name_prefix, 2 * self.answer_timeout_s, self.settle_s, self.calls_max)
