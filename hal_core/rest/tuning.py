"""The route about self-tuning: what is in force, and what HAL changed by itself."""

from __future__ import annotations

import attrs

from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.call import Call, Route
from hal_core.rest.rights import Verb
from hal_core.rules.policy_changes import policy_in_force


@attrs.frozen
class PolicyChangeView:
    time_s: float
    policy: str
    before: str
    reason: str
    gain: float


@attrs.frozen
class TuningAnswer:
    configured: str
    """The engine that the configuration names."""
    policy: str
    """The one that plans."""
    engines: tuple[str, ...]
    """Those that are tried beside the configured one; empty: nothing is tuned."""
    every_s: float
    changes: tuple[PolicyChangeView, ...]
    """The latest, the last of them last."""
    sequence: int


async def show_tuning(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_HAL)
    state, section_of = call.context.kernel.state, call.context.section
    configured, section = section_of("engine")["name"], section_of("tuning")
    others = tuple(name for name in section["engines"] if name != configured)
    changes = state.policy_changes
    rows = tuple(PolicyChangeView(*attrs.astuple(each)) for each in changes)
    policy = policy_in_force(changes, configured, others)
    return json_answer(TuningAnswer(configured, policy, others, section["every"], rows, state.sequence))


ROUTES = (
    Route(
        method="GET",
        path="/v1/tuning",
        handler=show_tuning,
        summary="Which engine plans, and what HAL changed by itself",
        answer=TuningAnswer,
    ),
)
