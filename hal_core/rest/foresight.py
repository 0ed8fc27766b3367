"""Routes that look ahead: why a job waits and what would help, and what a submission would lead to.

Both run the engine on an excerpt of the state, in a thread; the live state is only read for a moment.
"""

from __future__ import annotations

from functools import partial

import attrs
import trio

from hal_core.errors import InvalidInput, NotFound, Problem
from hal_core.models.explanation import Explanation
from hal_core.models.node import NodeName
from hal_core.parsing.request import JobRequest
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.call import Call, Route
from hal_core.rest.jobs import find_job
from hal_core.rest.rights import Verb
from hal_core.rest.submit import insist_on_priority
from hal_core.rules.charging import charged
from hal_core.rules.excerpt import excerpt_with
from hal_core.rules.explain import explain, question, verified
from hal_core.rules.forecast import forecast


@attrs.frozen
class ForecastAnswer:
    """When and where a job like this would start, if nothing else came in and jobs ran to their limits."""

    start_time_s: float | None
    nodes: tuple[NodeName, ...]
    why_not: str
    warnings: tuple[Problem, ...]


async def explain_job(call: Call) -> Answer:
    record, now_s = find_job(call), call.context.now_s()
    state = call.context.kernel.state
    if record.job_id not in state.jobs:
        raise NotFound(f"job {record.job_id} has ended; there is nothing it waits for")
    found = explain(state, record, now_s)
    if record.pending_count:
        look = partial(verified, found, question(state, record, now_s), call.context.new_engine(), now_s)
        found = await trio.to_thread.run_sync(look)
    return json_answer(found)


async def dry_run(call: Call) -> Answer:
    call.caller.insist(Verb.SUBMIT)
    owner, now_s = call.caller.owner, call.context.now_s()
    parsed = call.context.kernel.parse_job(call.body, owner)
    insist_on_priority(call, parsed)
    spec, problems = charged(call.context.kernel.state.cluster, owner, parsed.spec)
    if problems:
        raise InvalidInput(problems)
    part = excerpt_with(call.context.kernel.state, owner, spec, now_s)
    found = await trio.to_thread.run_sync(forecast, part, call.context.new_engine(), now_s)
    return json_answer(ForecastAnswer(found.start_time_s, found.nodes, found.why_not, parsed.warnings))


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/{job_id}/explanation",
        handler=explain_job,
        summary="Why the job waits, when it would start, and changes that would start it sooner",
        answer=Explanation,
    ),
    Route(
        method="POST",
        path="/v1/forecasts",
        handler=dry_run,
        summary="What a submission would lead to; nothing is submitted",
        answer=ForecastAnswer,
        body=JobRequest,
    ),
)
