"""Routes about how the cluster is shared."""

from __future__ import annotations

from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import LimitsAnswer, SharesAnswer
from hal_core.rest.call import Call, Route
from hal_core.rest.rights import Verb
from hal_core.rules.limit_view import limit_views
from hal_core.rules.share_view import share_views


async def show_shares(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_HAL)
    state = call.context.kernel.state
    return json_answer(SharesAnswer(share_views(state, call.context.now_s()), state.sequence))


async def show_limits(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_HAL)
    state = call.context.kernel.state
    return json_answer(LimitsAnswer(limit_views(state, call.context.now_s()), state.sequence))


ROUTES = (
    Route(
        method="GET",
        path="/v1/limits",
        handler=show_limits,
        summary="Limits on jobs, and how much of each is in force",
        answer=LimitsAnswer,
    ),
    Route(
        method="GET",
        path="/v1/shares",
        handler=show_shares,
        summary="Accounts and users with their shares, usage and fair-share factor",
        answer=SharesAnswer,
    ),
)
