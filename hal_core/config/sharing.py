"""How a cluster is shared, and the sections that say so: accounts, levels of service, limits, the queue's order."""
# ruff: noqa: RUF009 - `setting` is attrs.field with metadata

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from hal_core.config.kinds import ListOf, MapOf, Notes, Text, choice, setting
from hal_core.config.scalars import FLAG, INTERVAL, KILL_GRACE, LIMITS, NAME, PRIORITY, SHARES_MAX, count, or_nothing
from hal_core.errors import did_you_mean
from hal_core.models.policy import DEFAULT_PRIORITIES, Account, Limits, PreemptMode, Priorities, Qos, QueueOrder
from hal_core.parsing.names import parse_identifier
from hal_core.parsing.text import shown

if TYPE_CHECKING:
    from hal_core.config.schema import ConfigurationFile


_RULES: Final = DEFAULT_PRIORITIES


@attrs.frozen
class AccountSection:
    """What jobs are accounted to; a tree of accounts with shares."""

    name: str = setting(NAME, "name of the account", example="physics")
    parent: str = setting(
        Text("name", or_nothing(parse_identifier), takes_empty=True), "the account above it; empty for none", ""
    )
    shares: int = setting(count(1, SHARES_MAX), "its shares among the accounts with the same parent", 1)
    users: Mapping[str, int] = setting(
        MapOf(parse_identifier, count(1, SHARES_MAX)),
        "who may use it, with their shares of it: {ada: 1}; nobody named: everybody, if no account is below it",
        {},
    )
    limits: Mapping[str, int] = setting(LIMITS, "bounds on its jobs, and those of the accounts below it, together", {})


@attrs.frozen
class QosSection:
    """A level of service that jobs can ask for."""

    name: str = setting(NAME, "name of the level, for --qos", example="normal")
    priority: int = setting(PRIORITY, "added to the priority of its jobs", 0)
    default: bool = setting(FLAG, "the level of jobs that ask for none", False)
    limits: Mapping[str, int] = setting(LIMITS, "bounds on its jobs together: {running_jobs: 100, user.cpus: 64}", {})
    preempts: tuple[str, ...] = setting(ListOf(NAME), "levels whose running jobs its jobs may displace", ())
    preempt_mode: PreemptMode | None = setting(
        choice(PreemptMode, "partition"),
        "what happens to a job of this level that makes room; or its partition says",
        None,
    )
    preempt_exempt: float = setting(INTERVAL, "a job of this level is not preempted in its first while", 0.0)
    preempt_grace: float = setting(KILL_GRACE, "time to end for a job of this level that is preempted", 0.0)


@attrs.frozen
class PrioritySection:
    """What decides which job comes first. Weights are times: so much longer one would have to wait for the same."""

    order: QueueOrder = setting(
        choice(QueueOrder), "strict (partition, job, age), weighted (a sum of terms) or expansion-factor", _RULES.order
    )
    age_max: float = setting(INTERVAL, "weighted: waiting longer than this adds no more", _RULES.age_s_max)
    fair_share: float = setting(
        INTERVAL, "weighted: between a user who used nothing and one far beyond the share", _RULES.fair_share_s
    )
    half_life: float = setting(INTERVAL, "past usage counts half after so long; 0: for ever", _RULES.half_life_s)
    partition: float = setting(INTERVAL, "weighted: a point of the partition's priority", _RULES.partition_s)
    qos: float = setting(INTERVAL, "weighted: a point of the priority of a quality of service", _RULES.qos_s)
    job: float = setting(INTERVAL, "weighted: a point of the job's own priority, of --nice too", _RULES.job_s)
    size: float = setting(INTERVAL, "weighted: for a job as large as its partition; smaller ones less", _RULES.size_s)
    floor: float = setting(INTERVAL, "expansion-factor: shorter limits are taken for so long", _RULES.floor_s)
    starvation: float = setting(
        INTERVAL, "but for strict: who has waited so long comes first; 0: nobody", _RULES.starvation_s
    )


def sharing_of(file: ConfigurationFile, notes: Notes) -> dict[str, Any]:
    """The fields of models.node.Cluster that are about sharing. What is wrong is noted at its line."""
    return {
        "accounts": _accounts(file.accounts, notes),
        "qos": _levels(file.qos, notes),
        "limits": limits_of(file.job_limits),
        "licences": tuple(sorted(file.licences.items())),
        "priorities": _priorities(file.priority),
    }


def limits_of(section: Mapping[str, int]) -> Limits:
    return tuple(sorted(section.items()))


def _accounts(sections: Sequence[AccountSection], notes: Notes) -> tuple[Account, ...]:
    names = [section.name for section in sections]
    _note_twice("accounts", "account", names, notes)
    parents = {section.name: section.parent for section in sections}
    for index, section in enumerate(sections):
        if section.parent and section.parent not in parents:
            hint = did_you_mean(section.parent, names)
            notes.at(f"accounts[{index}].parent", f"no account named {shown(section.parent)}{hint}")
        elif _is_in_circle(section.name, parents):
            notes.at(f"accounts[{index}].parent", f"account {section.name!r} would be above itself")
    return tuple(
        Account(each.name, each.parent, each.shares, tuple(each.users.items()), limits_of(each.limits))
        for each in sections
    )


def _is_in_circle(name: str, parents: Mapping[str, str]) -> bool:
    above, steps = parents.get(name, ""), 0
    while above and above != name and steps < len(parents):
        above, steps = parents.get(above, ""), steps + 1
    return above == name


def _levels(sections: Sequence[QosSection], notes: Notes) -> tuple[Qos, ...]:
    names = [section.name for section in sections]
    _note_twice("qos", "quality of service", names, notes)
    defaults = [index for index, section in enumerate(sections) if section.default]
    for index in defaults[1:]:
        notes.at(f"qos[{index}].default", f"{names[defaults[0]]!r} is the default already")
    for index, section in enumerate(sections):
        for other in section.preempts:
            if other not in names:
                hint = did_you_mean(other, names)
                notes.at(f"qos[{index}].preempts", f"no quality of service named {shown(other)}{hint}")
            elif (lower := sections[names.index(other)]).priority >= section.priority:
                text = f"level {other!r} has priority {lower.priority}, {section.name!r} {section.priority}"
                notes.at(f"qos[{index}].preempts", f"{text}; only lower ones can be preempted")
    return tuple(
        Qos(
            each.name,
            each.priority,
            each.default,
            limits_of(each.limits),
            each.preempts,
            each.preempt_mode,
            each.preempt_exempt,
            each.preempt_grace,
        )
        for each in sections
    )


def _note_twice(key: str, what: str, names: Sequence[str], notes: Notes) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            notes.at(f"{key}[{index}].name", f"{what} {name!r} is named twice")


def _priorities(section: PrioritySection) -> Priorities:
    given = attrs.asdict(section)
    order = given.pop("order")
    renamed = {"age_max": "age_s_max"}
    return Priorities(order=order, **{renamed.get(name, f"{name}_s"): value for name, value in given.items()})
