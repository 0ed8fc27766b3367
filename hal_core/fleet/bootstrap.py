"""What a new machine must know to become a node: told by whoever rents it, when it is about to be made."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from hal_core.fleet.machines import MachineName
from hal_core.models.node import Node


@attrs.frozen
class Bootstrap:
    """`node` as the cluster has it, for its agent must offer all of that. The token is a secret.

    `lease_until_s`: seconds since the epoch. Without any further word the machine ends by then.
    """

    node: Node
    join_token: str = attrs.field(repr=False)
    lease_until_s: float


BootstrapSource = Callable[[MachineName], Bootstrap]
"""Blocks; called in a thread. Raises HalError if the machine is not wanted any more: then it is not made."""
