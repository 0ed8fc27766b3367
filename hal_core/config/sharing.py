"""How a cluster is shared, from the sections that say so: accounts, levels of service, limits, the queue's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from hal_core.config.kinds import Notes
from hal_core.config.schema import AccountSection, ConfigurationFile, PrioritySection, QosSection
from hal_core.errors import did_you_mean
from hal_core.models.policy import Account, Limits, Priorities, Qos
from hal_core.parsing.text import shown


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
