"""Further nodes with other amounts for the same job: `--and 'nodes=8,cpus-per-task=4'`, once for each component.

A component stands for itself: what it does not name is as if nobody had named it, not as in the options beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from hal_core.errors import InvalidInput, Problem
from hal_core.models.component import Component
from hal_core.models.mixed import are_enough
from hal_core.models.plural import plural
from hal_core.parsing.amounts import resolve_amounts
from hal_core.parsing.layout import NodeClass, can_hold
from hal_core.parsing.text import wrong
from hal_core.parsing.values import Wishes

if TYPE_CHECKING:
    from hal_core.models.job import JobSpec
    from hal_core.models.node import Partition
    from hal_core.parsing.layout import Place

COMPONENTS_MAX: Final = 7
"""Beside the first. A planning pass looks at all sets of them."""
_ONE_ELEMENT: Final = ("array", "or", "where", "elastic", "auto-memory")
_ONE_KIND_OF_NODE: Final = ("nodelist", "topology", "comm", "deadline", "value-per-hour")
_NOTHING: Final = (None, False, ())


def components_of(
    wishes: Wishes, partition: Partition, classes: Sequence[NodeClass], place: Place
) -> tuple[Component, ...]:
    """The components beside the first. Raises InvalidInput for one that no nodes could hold, and for what they do not
    go with."""
    if not wishes.and_:
        return ()
    problems = [Problem(place("and"), text) for text in _conflicts(wishes)]
    found: list[Component] = []
    for number, fields in enumerate(wishes.and_, start=1):
        own = Wishes(**fields, exclusive=wishes.exclusive)
        try:
            if len(own.nodes or ()) > 1:
                raise wrong("nodes: a component has one number of nodes, such as nodes=8")
            if own.gres is not None and own.gres.amounts:
                raise wrong("gres: other resources than GPUs are those of the first component alone; leave them away")
            amounts = resolve_amounts(own, partition, classes, lambda *options: options[0])
            features, alternatives = own.constraint.features, own.constraint.alternatives
            found.append(Component(**amounts._asdict(), features=features, alternatives=alternatives))
        except InvalidInput as error:
            problems += [Problem(place("and"), f"component {number}: {each}") for each in error.problems]
    if problems:
        raise InvalidInput(problems)
    return tuple(found)


def check_together(spec: JobSpec, classes: Sequence[NodeClass], place: Place) -> None:
    """Raises InvalidInput if the idle partition has not different nodes enough for all components at once."""
    parts = spec.shape().parts
    fitting = [0] * len(parts)
    first = 0
    for each in classes:
        nodes = (1 << each.count) - 1 << first
        fitting = [mask | nodes * can_hold(each.node, part) for mask, part in zip(fitting, parts, strict=True)]
        first += each.count
    if not are_enough(parts, fitting):
        text = f"the {len(parts)} components need {plural(spec.total_nodes, 'different node')} at the same time"
        counts = ", ".join(f"{mask.bit_count()} could serve component {at}" for at, mask in enumerate(fitting))
        raise InvalidInput([Problem(place("and"), f"{text}, which partition {spec.partition!r} has not: {counts}")])


def _conflicts(wishes: Wishes) -> Iterator[str]:
    given = {name for name in (*_ONE_ELEMENT, *_ONE_KIND_OF_NODE) if getattr(wishes, _field(name)) not in _NOTHING}
    several = ["nodes"] if len(wishes.nodes or ()) > 1 else []
    if one := [*several, *(name for name in _ONE_ELEMENT if name in given)]:
        yield f"a job of several components has one element with fixed amounts; leave out {_listed(one)}, or --and"
    if alike := [name for name in _ONE_KIND_OF_NODE if name in given]:
        yield f"does not go with {_listed(alike)}, which HAL knows for nodes of one kind only; leave out one of them"
    if len(wishes.and_) > COMPONENTS_MAX:
        yield f"{len(wishes.and_)} components beside the first; at most {COMPONENTS_MAX} are allowed"


def _field(option: str) -> str:
    return "or_" if option == "or" else option.replace("-", "_")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"--{name}" for name in names)
