"""Is what an engine returned a plan at all? Whether it holds is for `commit` to say, start by start; that it can be
looked at without harm is for here. Nothing has been applied yet when this refuses it.
"""

from __future__ import annotations

import math
from typing import Final

from hal_core.errors import PluginError
from hal_core.models.plan import Choice, Plan, Preempt, Reserve, Start

INT_MAX: Final = 2**53
"""Beyond that, not every reader of JSON gets the number that was written."""


def checked_plan(plan: object, engine: str) -> Plan:
    """The same plan. Raises PluginError, saying what is no plan about it."""
    if not isinstance(plan, Plan):
        raise PluginError(f"engine {engine!r} returned {_shown(plan)}, not a Plan")
    for field, cls in (("starts", Start), ("reserves", Reserve), ("preempts", Preempt), ("choices", Choice)):
        items = getattr(plan, field)
        if not isinstance(items, tuple):
            raise PluginError(f"engine {engine!r}: `{field}` of its plan is {_shown(items)}, not a tuple")
        for item in items:
            if not isinstance(item, cls) or not _is_sound(item):
                raise PluginError(f"engine {engine!r}: {_shown(item)} among the `{field}` of its plan")
    if not _are_ints(plan.depth) or not _is_time(plan.wake_s, plan.wake_s != math.inf):
        raise PluginError(f"engine {engine!r}: depth {plan.depth!r} or wake_s {plan.wake_s!r} of its plan")
    return plan


def _is_sound(item: Start | Reserve | Preempt | Choice) -> bool:
    if isinstance(item, Choice):
        return _are_ints(item.job_id, item.variant)
    if isinstance(item, Preempt):
        return _are_ints(item.job_id) and all(_are_ints(*victim) for victim in item.victims)
    numbers = item.node_numbers
    if not isinstance(numbers, tuple) or not _are_ints(item.job_id, *numbers):
        return False
    if isinstance(item, Reserve):
        return _is_time(item.start_time_s)
    return _are_ints(item.element_count) and _is_time(item.stage_s)


def _are_ints(*values: object) -> bool:
    """No truth values, nothing of numpy's and nothing huge: what is journalled must be read back as it was."""
    return all(type(value) is int and abs(value) <= INT_MAX for value in values)


def _is_time(value: object, is_finite: bool = True) -> bool:
    if type(value) is int:
        return _are_ints(value)
    return type(value) is float and (not is_finite or math.isfinite(value))


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r:.100}"
