"""Stage-in: what it takes to bring a job's inputs to each node, as sets of nodes (models/masks.py). Pure."""

from __future__ import annotations

from typing import Final

import attrs

TIERS_MAX: Final = 32
"""Of several inputs; nodes that would be in others count as farther than they are."""


@attrs.frozen
class Tier:
    """Nodes to which the inputs of a job can be brought for no more than this.

    A job's tiers are ordered by cost, each has the nodes of those before it too, and the last one has all nodes.
    """

    nodes: int
    """As bits."""
    stage_s: float
    """How long the job would be there without its inputs."""
    cost_s: float = attrs.field(default=attrs.Factory(lambda self: self.stage_s, takes_self=True))
    """The same, and what it costs in money, as seconds."""


Tiers = tuple[Tier, ...]
"""Of one set of inputs. Empty: nothing is known of them, or there are none, and all nodes are alike."""


def tiers_of(costs: dict[tuple[float, float], int], elsewhere: Tier) -> Tiers:
    """From sets of nodes by (cost in seconds, stage-in seconds), and what holds for all other nodes."""
    found: list[Tier] = []
    nodes = 0
    for (cost_s, stage_s), some in sorted(costs.items()):
        if cost_s >= elsewhere.cost_s:
            break
        if some & ~nodes:
            nodes |= some
            found.append(Tier(nodes, stage_s, cost_s))
    return (*found, elsewhere)


def together(one: Tiers, other: Tiers) -> Tiers:
    """Of inputs that are brought one after the other."""
    costs: dict[tuple[float, float], int] = {}
    for a in one:
        for b in other:
            key = a.cost_s + b.cost_s, a.stage_s + b.stage_s
            costs[key] = costs.get(key, 0) | a.nodes & b.nodes
    far, farther = one[-1], other[-1]
    found = tiers_of(costs, Tier(far.nodes, far.stage_s + farther.stage_s, far.cost_s + farther.cost_s))
    return (*found[: TIERS_MAX - 1], found[-1])
