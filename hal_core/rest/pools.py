"""Routes about cloud pools: what they have and cost, and the kill switch."""

from __future__ import annotations

import attrs

from hal_core.errors import NotFound, did_you_mean
from hal_core.models.message import ResumePool, StopPool
from hal_core.models.pool_quote import PlannedAction
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import EmptyRequest
from hal_core.rest.call import Call, Route
from hal_core.rest.rights import Verb
from hal_core.rules.pool_book import KeptPool
from hal_core.rules.pool_quotes import planned
from hal_core.rules.pool_status import PoolStatus, pool_status


@attrs.frozen(kw_only=True)
class StopPoolRequest:
    """With `does_release`, all instances are given back, and what runs there ends."""

    does_release: bool = False


@attrs.frozen
class PoolsAnswer:
    pools: list[PoolStatus]
    sequence: int


@attrs.frozen
class PoolPlanAnswer:
    """What the pool would do if it decided now. Nothing is rented by asking."""

    actions: tuple[PlannedAction, ...]
    sequence: int


def _find(call: Call) -> KeptPool:
    call.caller.insist(Verb.SEE_NODES)
    known, name = call.context.kernel.state.pools.pools, call.path["name"][:80]
    found = known.get(name)
    if found is None:
        raise NotFound(f"there is no pool {name!r}{did_you_mean(name, known)}; there are: {', '.join(known) or 'none'}")
    return found


def _status(call: Call) -> Answer:
    return json_answer(pool_status(call.context.kernel.state, _find(call), call.context.now_s()))


async def list_pools(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_NODES)
    state, now_s = call.context.kernel.state, call.context.now_s()
    found = [pool_status(state, kept, now_s) for kept in state.pools.pools.values()]
    return json_answer(PoolsAnswer(found, state.sequence))


async def show_pool(call: Call) -> Answer:
    return _status(call)


async def plan_pool(call: Call) -> Answer:
    await call.context.kernel.rested()
    kept, state = _find(call), call.context.kernel.state
    return json_answer(PoolPlanAnswer(planned(state, kept, call.context.now_s()), state.sequence))


async def stop_pool(call: Call) -> Answer:
    call.caller.insist(Verb.CONTROL_POOL)
    body: StopPoolRequest = call.body
    await call.context.kernel.ask(StopPool(_find(call).pool.name, body.does_release, call.caller.user))
    return _status(call)


async def resume_pool(call: Call) -> Answer:
    call.caller.insist(Verb.CONTROL_POOL)
    await call.context.kernel.ask(ResumePool(_find(call).pool.name, call.caller.user))
    return _status(call)


ROUTES = (
    Route(
        method="GET",
        path="/v1/pools",
        handler=list_pools,
        summary="The cloud pools: what each has, owes and has spent",
        answer=PoolsAnswer,
    ),
    Route(
        method="GET",
        path="/v1/pools/{name}",
        handler=show_pool,
        summary="One cloud pool",
        answer=PoolStatus,
    ),
    Route(
        method="GET",
        path="/v1/pools/{name}/plan",
        handler=plan_pool,
        summary="What the pool would rent and give back now, and why; nothing is done",
        answer=PoolPlanAnswer,
    ),
    Route(
        method="POST",
        path="/v1/pools/{name}/stop",
        handler=stop_pool,
        summary="Rent nothing more; or give back all that there is",
        body=StopPoolRequest,
        answer=PoolStatus,
        reads_state=False,
    ),
    Route(
        method="POST",
        path="/v1/pools/{name}/resume",
        handler=resume_pool,
        summary="Rent again",
        body=EmptyRequest,
        answer=PoolStatus,
        reads_state=False,
    ),
)
