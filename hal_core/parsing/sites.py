"""Sites: where a job may run if nobody minds where. Each executor is one: the nodes with agents, each foreign cluster.

A job with `--where` has a variant for each site, in one partition there: the default one if it is the site's, else the
first in the configuration that can hold the job. Partitions with nodes of several executors are of no site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from hal_core.errors import InvalidInput, Problem, did_you_mean
from hal_core.models.node import Node, NodeName, Partition
from hal_core.models.variant import Variant
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import shown, wrong

ANY: Final = "any"
Sites = Mapping[str, Sequence[Partition]]


def parse_where(text: str) -> tuple[str, ...]:
    """`any`, or names of sites."""
    return tuple(dict.fromkeys(parse_identifier(part) for part in text.split(",")))


def sites_of(partitions: Iterable[Partition], nodes: Mapping[NodeName, Node]) -> Sites:
    """The partitions of each site, the default one first."""
    found: dict[str, list[Partition]] = {}
    for partition in sorted(partitions, key=lambda each: not each.is_default):
        executors = {nodes[name].executor for name in partition.nodes if name in nodes}
        if len(executors) == 1:
            found.setdefault(executors.pop(), []).append(partition)
    return found


def variants_of_sites(
    where: Sequence[str], sites: Sites, variants_in: Callable[[Partition], list[Variant]]
) -> list[Variant]:
    """With what a job may run at each site that holds it. Raises InvalidInput if a site that was named does not."""
    for name in where:
        if name != ANY and name not in sites:
            known = (ANY, *sites)
            raise wrong(f"no site {shown(name)}{did_you_mean(name, known)}; there are: {', '.join(known)}")
    found: list[Variant] = []
    refused: list[Problem] = []
    for site in sites if ANY in where else where:
        some, problems = _first_that_holds(sites[site], variants_in)
        found += some
        refused += [Problem(each.place, f"at {site}: {each.text}") for each in problems]
    if refused and (not found or ANY not in where):
        raise InvalidInput(refused)
    return found


def _first_that_holds(
    partitions: Sequence[Partition], variants_in: Callable[[Partition], list[Variant]]
) -> tuple[list[Variant], Sequence[Problem]]:
    problems: Sequence[Problem] = ()
    for partition in partitions:
        try:
            return variants_in(partition), ()
        except InvalidInput as error:
            problems = problems or error.problems
    return [], problems
