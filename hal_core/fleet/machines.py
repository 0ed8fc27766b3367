"""What a plugin writes for a cloud: `Machines`, four blocking calls. All else is the fleet's business (fleet.py)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, Self

import attrs

from hal_core.models.node import NodeName
from hal_core.planes import Offer

if TYPE_CHECKING:
    from hal_core.fleet.bootstrap import Bootstrap

PREFIX_FORM: Final = re.compile(r"[a-z][a-z0-9]{0,19}")
OFFER_FORM: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")
DIGEST_LENGTH: Final = 12
_NAME: Final = re.compile(rf"([a-z][a-z0-9]*)-(.+)-([0-9]+)-([0-9a-f]{{{DIGEST_LENGTH}}})")


def check_name_prefix(_: object, __: object, prefix: str) -> None:
    """An attrs validator. Without a dash, so that no cluster's prefix is the beginning of another one's names."""
    if not PREFIX_FORM.fullmatch(prefix):
        raise ValueError(
            f"name_prefix: expected a letter, then letters and digits, at most 20 and all small, not {prefix!r}"
        )


def check_offer_name(_: object, __: object, name: str) -> None:
    """An attrs validator: the name becomes a part of the machines' names."""
    if not OFFER_FORM.fullmatch(name):
        raise ValueError(f"name: expected small letters, digits and dashes inside, at most 20, not {name!r}")


@attrs.frozen
class MachineName:
    """A machine's name at its provider: `hal-small-3-0a1b2c3d4e5f`. Whose, which offer, which node, which order.

    The name is what every provider can keep, so it is what idempotency rests on. At most 59 characters, a DNS label.
    """

    prefix: str
    offer: str
    slot: int
    digest: str
    """Of the token of the provision that the machine was made for."""

    @property
    def node(self) -> NodeName:
        """Its name in HAL. There are as many as the offer's `count_max`, so they can be declared."""
        return node_name(self.prefix, self.offer, self.slot)

    def __str__(self) -> str:
        return f"{self.node}-{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for whatever is not named by a fleet."""
        found = _NAME.fullmatch(text)
        return found and cls(found[1], found[2], int(found[3]), found[4])


def node_name(prefix: str, offer: str, slot: int) -> NodeName:
    return NodeName(f"{prefix}-{offer}-{slot}")


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:DIGEST_LENGTH]


@attrs.frozen
class Machine:
    """One machine as its provider lists it.

    `is_over`: it has ended and costs nothing any more, though it is still listed. `created` orders machines of one
    name, in whatever form the provider has (seconds, an ISO time).
    """

    native_id: str
    name: str
    is_ready: bool
    is_over: bool = False
    created: str = ""


class Machines(Protocol):
    """The calls of one cloud. They block, are made in several threads at once, and never try again by themselves.

    They raise errors.HalError only: Unavailable if trying later may help (whether something was done or not),
    NoCapacity or UserError if certainly nothing was done, PluginError if the answer makes no sense.
    """

    def offers(self) -> Sequence[Offer]: ...

    def list(self) -> Sequence[Machine]:
        """All machines whose names begin with the prefix; others may be among them."""
        ...

    def create(self, offer: str, name: MachineName, bootstrap: Bootstrap | None = None) -> Machine:
        """One machine. Its name may serve as an idempotency token, where the provider has such a thing.

        `bootstrap` is for its user data (UserData.text); without it, it becomes a node by the site's own means.
        """
        ...

    def destroy(self, native_id: str) -> None:
        """End it. One that is gone already is no error."""
        ...
