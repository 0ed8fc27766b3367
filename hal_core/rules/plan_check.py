"""Is what an engine returned a plan at all? Whether it holds is for `commit` to say, start by start; that it can be
looked at without harm is for here. Nothing has been applied yet when this refuses it.

Whoever looks at a plan later has no wall around it. So no class of the engine's own gets through, not even one that is
derived from ours: looking at it might call the engine.
"""

from __future__ import annotations

import math
from typing import Final

from hal_core.errors import PluginError
from hal_core.models.placement import Grant
from hal_core.models.plan import Choice, PendingJob, Plan, Preempt, Reserve, Start

INT_MAX: Final = 2**53
"""Beyond that, not every reader of JSON gets the number that was written."""
_Item = Start | Reserve | Preempt | Choice | Grant | PendingJob
_ITEMS: Final = (
    ("starts", Start),
    ("reserves", Reserve),
    ("preempts", Preempt),
    ("choices", Choice),
    ("grants", Grant),
    ("waiting", PendingJob),
)
"""The fields of a plan that hold others, and what they hold."""


def checked_plan(plan: object, engine: str) -> Plan:
    """The same plan. Raises PluginError, saying what is no plan about it."""
    if type(plan) is not Plan:
        raise PluginError(f"engine {engine!r} returned {_shown(plan)}, not a Plan")
    for field, cls in _ITEMS:
        items = getattr(plan, field)
        if type(items) is not tuple:
            raise PluginError(f"engine {engine!r}: `{field}` of its plan is {_shown(items)}, not a tuple")
        for item in items:
            if type(item) is not cls or not _is_sound(item):
                raise PluginError(f"engine {engine!r}: {_shown(item)} among the `{field}` of its plan")
    if not _are_ints(plan.depth) or not _is_time(plan.wake_s, plan.wake_s != math.inf):
        raise PluginError(f"engine {engine!r}: depth {plan.depth!r} or wake_s {plan.wake_s!r} of its plan")
    return plan


def _is_sound(item: _Item) -> bool:
    match item:
        case PendingJob():
            return _are_ints(item.job_id)
        case Choice():
            ends_s = (item.expected_end_s, item.otherwise_s)
            return _are_ints(item.job_id, item.variant) and all(_is_time(each, is_finite=False) for each in ends_s)
        case _:
            numbers = item.node_numbers
            if type(numbers) is not tuple or not _are_ints(item.job_id, *numbers):
                return False
    match item:
        case Preempt():
            return type(item.victims) is tuple and all(map(_is_key, item.victims))
        case Reserve():
            return _is_time(item.start_time_s)
        case Grant():
            return _are_ints(item.element_count) and _is_time(item.time_s)
        case _:
            return _are_ints(item.element_count) and _is_time(item.stage_s)


def _is_key(victim: object) -> bool:
    return type(victim) is tuple and len(victim) == 2 and _are_ints(*victim)


def _are_ints(*values: object) -> bool:
    """No truth values, nothing of numpy's and nothing huge: what is journalled must be read back as it was."""
    return all(type(value) is int and abs(value) <= INT_MAX for value in values)


def _is_time(value: object, is_finite: bool = True) -> bool:
    if type(value) is int:
        return _are_ints(value)
    return type(value) is float and (not is_finite or math.isfinite(value))


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r:.100}"
