"""Several sets of amounts for one job: `--nodes=2-8`, `--nodes=1,2,4,8` and `--or 'gpus=0,cpus-per-task=16,time=4h'`.

Whatever an alternative does not name is as in the options beside it. How long the job runs with other numbers of nodes
follows from the share of its work that they divide (Amdahl, AFIPS 1967), and how long it runs as an alternative from
the time limits that the user gave.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from hal_core.errors import InvalidInput, did_you_mean
from hal_core.models.variant import Variant
from hal_core.parsing.options import BY_NAME
from hal_core.parsing.text import parse_count, shown, wrong

if TYPE_CHECKING:
    from hal_core.parsing.amounts import Amounts
    from hal_core.parsing.values import Wishes

VARIANTS_MAX: Final = 64
SCALING_DEFAULT: Final = 0.9
"""Who asks for a range has a program that scales. That a tenth of it does not keeps it from waiting long for the last
few nodes, which would make little difference."""
_MEMORY: Final = ("mem", "mem_per_cpu", "mem_per_gpu")
_GPUS: Final = ("gpus", "gpus_per_node", "gpus_per_task")
OR_OPTIONS: Final = (
    *("nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "mem", "mem-per-cpu", "mem-per-gpu"),
    *("gpus", "gpus-per-node", "gpus-per-task", "time"),
)
"""What an alternative may name."""
AND_OPTIONS: Final = (*(name for name in OR_OPTIONS if name != "time"), "constraint", "gres")
"""What a component may name; of `gres` GPUs alone."""
COMPONENT_SEPARATOR: Final = re.compile(r"\s+:\s+")
_NEXT_AMOUNT: Final = re.compile(r",(?=[^,]*=)")
Alternative = Mapping[str, Any]
"""Fields of Wishes, and what they are in the alternative, or in the component."""


def parse_node_counts(text: str) -> tuple[int, ...]:
    """`4`, `2-8`, `2-16:2` or `1,2,4,8`: ascending."""
    counts: set[int] = set()
    for part in text.split(","):
        first, dash, rest = part.partition("-")
        last, colon, step = rest.partition(":")
        low = parse_count(first, low=1)
        high = parse_count(last, low=low) if dash else low
        found = range(low, high + 1, parse_count(step, low=1) if colon else 1)
        if len(counts) + len(found) > VARIANTS_MAX:
            raise wrong(f"{shown(text)} is more than {VARIANTS_MAX} sizes; name fewer: {low}-{high}:{len(found) // 8}")
        counts.update(found)
    return tuple(sorted(counts))


def parse_alternatives(text: str, parse: Callable[[str, str], object]) -> tuple[Alternative, ...]:
    """`gpus=0,cpus-per-task=16|nodes=2`. `parse`: name and text of an option to its value."""
    return tuple(parse_amounts(part, OR_OPTIONS, "an alternative", parse) for part in text.split("|"))


def parse_components(text: str, parse: Callable[[str, str], object]) -> tuple[Alternative, ...]:
    """`nodes=8,cpus-per-task=4`, or several with ` : ` between them (parsing/components.py)."""
    return tuple(parse_amounts(part, AND_OPTIONS, "a component", parse) for part in COMPONENT_SEPARATOR.split(text))


def parse_amounts(
    text: str, options: Sequence[str], what: str, parse: Callable[[str, str], object]
) -> Mapping[str, Any]:
    """`gpus=0,cpus-per-task=16` as fields of Wishes. `options`: those that may be named; `what`: of what they are.

    What stands between two commas and has no `=` belongs to the value before it: `constraint=ib,ssd,nodes=2`.
    """
    found: dict[str, object] = {}
    for part in _NEXT_AMOUNT.split(text):
        name, equals, value = part.partition("=")
        name = name.strip().removeprefix("--")
        name = BY_NAME[name].name if name in BY_NAME else name
        if name not in options or not equals:
            hint = did_you_mean(name, options) or f"; it can be {', '.join(options)}"
            raise wrong(f"{shown(part)} is no amount of {what}, such as cpus-per-task=16{hint}")
        try:
            found[name.replace("-", "_")] = parse(name, value.strip())
        except InvalidInput as error:
            raise wrong(f"{name}: {error.problems[0].text}") from error
    check_rivals(found)
    return found


def check_rivals(amounts: Alternative) -> None:
    """Raises InvalidInput if two of them say the same in two ways."""
    for rivals in (_MEMORY, _GPUS):
        both = [name.replace("_", "-") for name in rivals if name in amounts]
        if len(both) > 1:
            raise wrong(f"give only one of {' and '.join(both)}")


def alternatives_of(wishes: Wishes) -> list[Wishes]:
    """What is asked for, and after it each alternative."""
    return [wishes, *(_changed(wishes, alternative) for alternative in wishes.or_)]


def _changed(wishes: Wishes, alternative: Alternative) -> Wishes:
    """An amount that the alternative names takes the place of others that say the same in another way."""
    gone: dict[str, Any] = {}
    for rivals in (_MEMORY, _GPUS):
        if any(name in alternative for name in rivals):
            gone |= dict.fromkeys(rivals)
    if wishes.gres is not None and any(name in alternative for name in _GPUS):
        gone["gres"] = attrs.evolve(wishes.gres, gpus=None)
    return attrs.evolve(wishes, **{**gone, **alternative})


def sizes_of(wishes: Wishes, resolve: Callable[[Wishes], Amounts]) -> Iterator[tuple[Amounts, float]]:
    """The amounts for each number of nodes, and how long that runs as a share of what the smallest does.

    Raises InvalidInput if the smallest cannot be; larger ones that cannot are left out.
    """
    share = SCALING_DEFAULT if wishes.scaling is None else wishes.scaling
    counts = wishes.nodes or (None,)
    first = resolve(attrs.evolve(wishes, nodes=wishes.nodes and wishes.nodes[:1]))
    yield first, 1.0
    for count in counts[1:]:
        try:
            amounts = resolve(attrs.evolve(wishes, nodes=(count,)))
        except InvalidInput:
            continue
        yield amounts, 1.0 - share + share * first.node_count / amounts.node_count


def variant_of(amounts: Amounts, walltime_s: float | None, run_ratio: float, partition: str) -> Variant:
    return Variant(**amounts._asdict(), walltime_s=walltime_s, run_ratio=run_ratio, partition=partition)


def why_no_auto_memory(wishes: Wishes, variants: Sequence[Variant]) -> str:
    """What `--auto-memory` does not go with; empty if it may be."""
    if not variants[0].memory_bytes_per_node:
        return "needs --mem, the most that the job may get"
    if wishes.array is not None:
        return "is not for job arrays, whose elements have one size: leave it away"
    return "is for jobs with one number of nodes and no --or: leave it away" if len(variants) > 1 else ""
