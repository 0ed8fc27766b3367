"""How the text of each job option is read. One entry for each option in the table; the results are typed in `Wishes`.

A text becomes a value here; what several values mean together is decided in request.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from hal_core.errors import did_you_mean
from hal_core.models.dataset import REFERENCE
from hal_core.models.job import ArraySpec, Dependency, Spread
from hal_core.models.node import NodeName
from hal_core.parsing.arrays import parse_array
from hal_core.parsing.constraints import ANY, Constraint, parse_constraint
from hal_core.parsing.datasets import parse_output, parse_reference
from hal_core.parsing.dependencies import parse_dependencies
from hal_core.parsing.durations import parse_interval, parse_kill_grace, parse_time_limit
from hal_core.parsing.export import EXPORT_ALL, Export, parse_export
from hal_core.parsing.hosts import parse_hosts
from hal_core.parsing.mail import parse_mail_types, parse_mail_user
from hal_core.parsing.memory import parse_memory
from hal_core.parsing.names import parse_absolute_path, parse_identifier, parse_line, parse_name, parse_path
from hal_core.parsing.nearness import Nearness, parse_communication, parse_nearness
from hal_core.parsing.options import BY_NAME, Option
from hal_core.parsing.patterns import parse_pattern, parse_plain_path
from hal_core.parsing.quantities import parse_money, parse_share
from hal_core.parsing.resources import Generic, Gpus, parse_generic, parse_gpus, parse_licences
from hal_core.parsing.sites import parse_where
from hal_core.parsing.text import parse_choice, parse_count, parse_integer, shown, wrong
from hal_core.parsing.unsupported import UNSUPPORTED
from hal_core.parsing.variants import Alternative, parse_alternatives, parse_components, parse_node_counts

PRIORITY_MAX: Final = 2**31 - 1
COMMENT_CHARACTERS_MAX: Final = 1024
INPUTS_MAX: Final = 1000
NICE_DEFAULT: Final = 100
ELASTIC_WEIGHT_MAX: Final = 1000


@attrs.frozen
class Wishes:
    """What was asked for, option by option; None where nothing was. Field names are option names with underscores
    (and with one at the end, where the name is a word of Python)."""

    job_name: str | None = None
    partition: str | None = None
    where: tuple[str, ...] = ()
    """Sites; `any` is all of them."""
    time: float | None = None
    """Both "no limit" and "not asked" are None here; `places` of the request tells them apart."""
    nodes: tuple[int, ...] | None = None
    """Several: any of them, ascending."""
    scaling: float | None = None
    or_: tuple[Alternative, ...] = ()
    and_: tuple[Alternative, ...] = ()
    ntasks: int | None = None
    ntasks_per_node: int | None = None
    cpus_per_task: int | None = None
    mem: int | None = None
    mem_per_cpu: int | None = None
    mem_per_gpu: int | None = None
    gpus: Gpus | None = None
    gpus_per_node: Gpus | None = None
    gpus_per_task: Gpus | None = None
    gres: Generic | None = None
    exclusive: bool = False
    constraint: Constraint = ANY
    nodelist: tuple[NodeName, ...] = ()
    exclude: tuple[NodeName, ...] = ()
    topology: Nearness | None = None
    comm: float | None = None
    chdir: str | None = None
    export: Export = EXPORT_ALL
    input: str | None = None
    output: str | None = None
    error: str | None = None
    open_mode: str | None = None
    array: ArraySpec | None = None
    dependency: tuple[tuple[Dependency, ...], bool] | None = None
    auto_memory: bool = False
    requeue: bool = False
    no_requeue: bool = False
    hold: bool = False
    begin: str | None = None
    deadline: str | None = None
    value_per_hour: float | None = None
    priority: int | None = None
    nice: int | None = None
    elastic: int | None = None
    spread: Spread | None = None
    kill_grace: float | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    account: str | None = None
    checkpoint_every: float | None = None
    reservation: str | None = None
    qos: str | None = None
    licenses: tuple[tuple[str, int], ...] = ()
    mail_type: tuple[str, ...] = ()
    mail_user: str | None = None
    comment: str | None = None
    wrap: str | None = None


def plain_fields(wishes: Wishes) -> dict[str, Any]:
    """Fields of a spec that say what was wished for, and no more."""
    return {
        "inputs": wishes.inputs,
        "outputs": wishes.outputs,
        "account": wishes.account or "",
        "checkpoint_s": wishes.checkpoint_every or None,
        "deadline": wishes.deadline or "",
        "value_per_hour": wishes.value_per_hour,
        "elastic_weight": wishes.elastic or 0,
        "reservation": wishes.reservation or "",
        "qos": wishes.qos or "",
        "licences": wishes.licenses,
        "comment": wishes.comment or "",
        "mail_types": wishes.mail_type,
        "mail_user": (wishes.mail_user or "") if wishes.mail_type else "",
        "can_requeue": wishes.requeue,
        "has_auto_memory": wishes.auto_memory,
    }


def find_option(name: str) -> Option:
    """The option of that long name, letter or alias. Raises InvalidInput for one that HAL does not support."""
    option = BY_NAME.get(name)
    if option is not None:
        return option
    if name in UNSUPPORTED:
        raise wrong(f"is not supported: {UNSUPPORTED[name]}")
    long_names = [known for known in BY_NAME if len(known) > 1]
    raise wrong(f"is not an option that HAL knows{did_you_mean(name[:64], long_names)}; see `hal submit --help`")


def parse_value(option: Option, text: str) -> object:
    """The typed value of an option. Raises InvalidInput."""
    if option.takes == "flag" and text:
        raise wrong(f"takes no value, but was given {shown(text)}")
    if option.takes == "value" and not text:
        raise wrong(f"needs a value: {option.help}")
    return PARSERS[option.name](text)


def _node_names(text: str) -> tuple[NodeName, ...]:
    return tuple(map(NodeName, parse_hosts(text)))


def _positive(text: str) -> int:
    return parse_count(text, low=1)


def _or(text: str) -> tuple[Alternative, ...]:
    return parse_alternatives(text, lambda name, value: parse_value(BY_NAME[name], value))


def _and(text: str) -> tuple[Alternative, ...]:
    return parse_components(text, lambda name, value: parse_value(BY_NAME[name], value))


def _exclusive(text: str) -> bool:
    if text:
        raise wrong(f"={shown(text)} is not supported; --exclusive without a value keeps every other job away")
    return True


def _elastic(text: str) -> int:
    return parse_count(text, low=1, high=ELASTIC_WEIGHT_MAX) if text else 1


def _nice(text: str) -> int:
    return parse_count(text, high=PRIORITY_MAX) if text else NICE_DEFAULT


def _priority(text: str) -> int:
    return parse_integer(text, -PRIORITY_MAX, PRIORITY_MAX)


def _spread(text: str) -> Spread:
    return Spread(parse_choice(text, tuple(spread.value for spread in Spread)))


def _inputs(text: str) -> tuple[str, ...]:
    parts = dict.fromkeys(text.split(","))
    if len(parts) > INPUTS_MAX:
        raise wrong(f"names {len(parts)} inputs; at most {INPUTS_MAX} are allowed: put files into one dataset")
    return tuple(dict.fromkeys(map(_input, parts)))


def _input(text: str) -> str:
    return parse_reference(text) if text.startswith(REFERENCE) else parse_path(text)


def _wrap(text: str) -> str:
    if "\0" in text:
        raise wrong("holds a NUL character")
    return text


PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "job-name": parse_name,
    "partition": parse_identifier,
    "where": parse_where,
    "time": parse_time_limit,
    "nodes": parse_node_counts,
    "scaling": parse_share,
    "or": _or,
    "and": _and,
    "ntasks": _positive,
    "ntasks-per-node": _positive,
    "cpus-per-task": _positive,
    "mem": parse_memory,
    "mem-per-cpu": parse_memory,
    "mem-per-gpu": parse_memory,
    "gpus": parse_gpus,
    "gpus-per-node": parse_gpus,
    "gpus-per-task": parse_gpus,
    "gres": parse_generic,
    "exclusive": _exclusive,
    "constraint": parse_constraint,
    "nodelist": _node_names,
    "exclude": _node_names,
    "topology": parse_nearness,
    "comm": parse_communication,
    "chdir": parse_absolute_path,
    "export": parse_export,
    "input": parse_plain_path,
    "output": parse_pattern,
    "error": parse_pattern,
    "open-mode": lambda text: parse_choice(text, ("append", "truncate")),
    "array": parse_array,
    "dependency": parse_dependencies,
    "auto-memory": lambda _: True,
    "requeue": lambda _: True,
    "no-requeue": lambda _: True,
    "hold": lambda _: True,
    "begin": parse_line,
    "deadline": parse_line,
    "value-per-hour": parse_money,
    "priority": _priority,
    "nice": _nice,
    "elastic": _elastic,
    "spread": _spread,
    "kill-grace": parse_kill_grace,
    "inputs": _inputs,
    "outputs": lambda text: tuple(dict.fromkeys(parse_output(part) for part in text.split(","))),
    "account": parse_identifier,
    "checkpoint-every": parse_interval,
    "reservation": parse_identifier,
    "qos": parse_identifier,
    "licenses": parse_licences,
    "mail-type": parse_mail_types,
    "mail-user": parse_mail_user,
    "comment": lambda text: parse_line(text, COMMENT_CHARACTERS_MAX),
    "wrap": _wrap,
}
"""`begin` and `deadline` need the time of the request and are read there."""
