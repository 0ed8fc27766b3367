"""Routes that look ahead: why a job waits and what would help, and what a submission would lead to.

Both run the engine on an excerpt of the state, in a thread; the live state is only read for a moment.
"""

from __future__ import annotations

from functools import partial

import attrs
import trio

from hal_core.errors import InvalidInput, NotFound, Problem
from hal_core.models.explanation import Explanation, LikelyStart, VariantOutlook
from hal_core.models.job import JobId, JobSpec
from hal_core.models.node import NodeName
from hal_core.models.pool_quote import PoolQuote
from hal_core.models.prediction import Arrival, Foretold, Prediction
from hal_core.parsing.request import JobRequest
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.call import Call, Route
from hal_core.rest.jobs import find_job
from hal_core.rest.rights import Verb
from hal_core.rest.submit import insist_on_priority, sized
from hal_core.rules.admission import late
from hal_core.rules.charging import charged
from hal_core.rules.excerpt import excerpt, excerpt_of, record_of
from hal_core.rules.explain import explain, question, verified
from hal_core.rules.forecast import Forecast, forecast
from hal_core.rules.pool_quotes import quotes
from hal_core.rules.variant_outlook import first_to_end, outlooks, variations


@attrs.frozen
class ForecastAnswer:
    """When and where a job like this would start, if nothing else came in and jobs ran to their limits."""

    start_time_s: float | None
    nodes: tuple[NodeName, ...]
    why_not: str
    variants: tuple[VariantOutlook, ...]
    """Of a job that may run with several sets of amounts: what would become of it with each, or with some of many. The
    start is that of the one which ends first."""
    warnings: tuple[Problem, ...]
    likely: LikelyStart | None = None
    """When it is likely to start, with all that may come between. None: that cannot be said."""
    pools: tuple[PoolQuote, ...] = ()
    """What it would cost where; nothing unless nodes can be rented."""


@attrs.frozen
class PredictionAnswer:
    """How long a job like this would run, and when and where it would start."""

    foretold: Foretold | None
    """None: the cluster has no predictor, and the limit is what is planned with."""
    walltime_s: float | None
    start: ForecastAnswer


async def explain_job(call: Call) -> Answer:
    await call.context.kernel.rested()
    record, now_s = find_job(call), call.context.now_s()
    state = call.context.kernel.state
    if record.job_id not in state.jobs:
        why = next(
            (f" ({each.end.kind.value}: {each.end.detail})" for each in record.ends.values() if each.end.detail), ""
        )
        raise NotFound(f"job {record.job_id} has ended{why}; there is nothing it waits for")
    found = explain(state, record, now_s)
    if record.pending_count:
        look = partial(verified, found, question(state, record, now_s), call.context.new_engine(), now_s)
        part = excerpt(state, record.job_id, now_s)
        found = await trio.to_thread.run_sync(look)
        found = attrs.evolve(found, likely=await call.context.likely_start(part, now_s))
    return json_answer(found)


async def dry_run(call: Call) -> Answer:
    spec, warnings = _read_job(call)
    return json_answer(await _look_ahead(call, spec, warnings))


async def predict_job(call: Call) -> Answer:
    spec, warnings = _read_job(call)
    context = call.context
    job = Arrival(JobId(0), call.caller.owner, spec, context.now_s())
    foretold = None if context.foretell is None else await context.foretell(job)
    run_time = None if foretold is None else foretold.run_time
    start = await _look_ahead(call, spec, warnings, run_time)
    return json_answer(PredictionAnswer(foretold, spec.walltime_s, start))


def _read_job(call: Call) -> tuple[JobSpec, tuple[Problem, ...]]:
    """The job of the body as it would be taken in, with warnings. Raises InvalidInput or Forbidden, as for a
    submission."""
    call.caller.insist(Verb.SUBMIT)
    owner, kernel = call.caller.owner, call.context.kernel
    parsed = kernel.parse_job(call.body, owner)
    insist_on_priority(call, parsed)
    spec, problems = charged(kernel.state.cluster, owner, parsed.spec)
    problems += late(spec, call.context.now_s())
    if problems:
        raise InvalidInput(problems)
    (spec,), advice = sized(call, [spec])
    return spec, (*parsed.warnings, *advice)


async def _look_ahead(
    call: Call, spec: JobSpec, warnings: tuple[Problem, ...], run_time: Prediction | None = None
) -> ForecastAnswer:
    await call.context.kernel.rested()
    state, engine, now_s = call.context.kernel.state, call.context.new_engine(), call.context.now_s()
    record = record_of(state, call.caller.owner, spec, now_s, run_time)
    part = excerpt_of(state, record, now_s)
    tried = variations(state, record, now_s) if part.asked is not None else ()
    sums = quotes(state, record, now_s)  # Like the excerpt before anything is waited for: a pass may begin then.
    found = await trio.to_thread.run_sync(forecast, part, engine, now_s)
    variants = await trio.to_thread.run_sync(outlooks, part, tried, engine, now_s)
    if variants and (best := first_to_end(variants)).start_time_s is not None:
        found = Forecast(best.start_time_s, best.nodes)
    likely = await call.context.likely_start(part, now_s)
    return ForecastAnswer(found.start_time_s, found.nodes, found.why_not, variants, warnings, likely, sums)


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
    Route(
        method="POST",
        path="/v1/predictions",
        handler=predict_job,
        summary="How long a job would run and when it would start, as far as that is known; nothing is submitted",
        answer=PredictionAnswer,
        body=JobRequest,
    ),
)
