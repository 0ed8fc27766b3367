"""The options of the static cloud, as they stand in the YAML. Checked here, so that the provider need not.

state_directory: /var/lib/hal/static-cloud
offers:
  - name: spare
    nodes: [spare1, spare2]
    cpu_count: 16
    memory_bytes: 68719476736
    command: [hal, agent, --name, "{node}"]
"""

from __future__ import annotations

from collections import Counter

import attrs

from hal_core import Node, NodeName, Offer


def _has_program(_: object, __: object, command: tuple[str, ...]) -> None:
    if not command or not command[0]:
        raise ValueError("expected a program and its arguments, as a list")


@attrs.frozen
class OfferOptions:
    """Machines of one kind. In `command`, {node} stands for the node's name; no shell is involved."""

    name: str
    nodes: tuple[NodeName, ...] = attrs.field(validator=attrs.validators.min_len(1))
    cpu_count: int = attrs.field(validator=attrs.validators.ge(1))
    memory_bytes: int = attrs.field(validator=attrs.validators.ge(1))
    command: tuple[str, ...] = attrs.field(validator=_has_program)
    gpus: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    price_per_hour: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    boot_s: float = attrs.field(default=5.0, validator=attrs.validators.ge(0))

    def offer(self) -> Offer:
        node = Node(NodeName(self.name), self.cpu_count, self.memory_bytes, gpus=self.gpus, features=self.features)
        return Offer(self.name, node, self.price_per_hour, len(self.nodes), self.boot_s)

    def command_for(self, node: NodeName) -> list[str]:
        return [word.replace("{node}", node) for word in self.command]


def _have_names_of_their_own(_: object, __: object, offers: tuple[OfferOptions, ...]) -> None:
    for what, names in (
        ("offer", [offer.name for offer in offers]),
        ("node", [node for offer in offers for node in offer.nodes]),
    ):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise ValueError(f"each {what} may be listed once; listed more often: {', '.join(twice)}")


@attrs.frozen
class StaticOptions:
    """`stop_grace_s`: between SIGTERM and SIGKILL when a machine is given back."""

    state_directory: str
    offers: tuple[OfferOptions, ...] = attrs.field(default=(), validator=_have_names_of_their_own)
    stop_grace_s: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
