"""Routes about jobs: the queue, one job, its elements and script, and what may be done to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from hal_core.errors import InvalidInput, NotFound, Problem
from hal_core.models.job import JobId, JobState
from hal_core.models.message import (
    Cancel,
    Hold,
    JobSelection,
    Release,
    Requeue,
    Resume,
    SetPriority,
    SetWeight,
    Suspend,
)
from hal_core.models.ranges import Ranges
from hal_core.parsing.arrays import parse_array
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import (
    CountAnswer,
    ElementsPage,
    JobsPage,
    PriorityAnswer,
    PriorityRequest,
    ResumeAnswer,
    ScriptAnswer,
    SelectionRequest,
    WeightAnswer,
    WeightRequest,
)
from hal_core.rest.call import Call, Route
from hal_core.rest.query import LIMIT, cursor_of, number, one_of, states, texts, write_cursor
from hal_core.rest.rights import Verb
from hal_core.rules.excerpt import excerpt
from hal_core.rules.job_record import JobRecord
from hal_core.rules.queue_view import (
    UNFINISHED,
    QueueFilters,
    QueuePart,
    QueuePosition,
    elements_part,
    queue_counts,
    queue_part,
)
from hal_core.rules.suspension import holders_of
from hal_core.rules.views import JobDetail, JobView, job_detail
from hal_core.rules.waiting import Waiting

JOB_ID_MAX = (1 << 53) - 1
WAIT_S_DEFAULT = 30.0
WAIT_S_MAX = 300.0
FORESIGHT_COST = 5.0
"""Beside that of the question itself: the whole queue is looked at, once the engine's pass is over."""


@attrs.frozen
class ElementsPosition:
    """Where a page of elements goes on."""

    index: int


def job_id_of(call: Call) -> JobId:
    """The number that the path names. Raises NotFound for what cannot be one."""
    given = call.path["job_id"]
    if not given.isascii() or not given.isdecimal() or not 0 < int(given[:20]) <= JOB_ID_MAX:
        raise NotFound(f"{given[:40]!r} is no job id; ids are whole numbers from 1")
    return JobId(int(given))


def find_job(call: Call) -> JobRecord:
    """The job that the path names. Raises NotFound."""
    job_id = job_id_of(call)
    state = call.context.kernel.state
    record = state.find(job_id)
    if record is None:
        if job_id in state.completed_ids or job_id in state.failed_ids:
            raise NotFound(f"job {job_id} ended long ago; how it ended is in /v1/history?job_id={job_id}")
        raise NotFound(f"there is no job {job_id}")
    call.caller.insist(Verb.SEE_JOB, record.owner)
    return record


async def list_jobs(call: Call) -> Answer:
    query, state = call.query, call.context.kernel.state
    filters = QueueFilters(query["state"] or UNFINISHED, query["user"], query["partition"], query["name"])
    position: QueuePosition | None = query["cursor"] or QueuePosition()
    jobs: list[JobView] = []
    while position is not None and len(jobs) < query["limit"]:
        waiting = Waiting(state, call.context.now_s())
        part: QueuePart = queue_part(state, filters, position, query["limit"] - len(jobs), waiting)
        jobs += [_with_use(call, job) for job in part.jobs]
        position = part.next
        if position is not None:
            await trio.lowlevel.checkpoint()  # a long search gives way to others
            state = call.context.kernel.state
    return json_answer(JobsPage(jobs, write_cursor(position), queue_counts(state), state.sequence))


def _with_use(call: Call, job: JobView) -> JobView:
    """The line, with since when the job is idle, if it runs and is."""
    use = call.context.use_of(job.job_id) if job.state is JobState.RUNNING else None
    return job if use is None or use.idle_since_s is None else attrs.evolve(job, idle_since_s=use.idle_since_s)


async def show_job(call: Call) -> Answer:
    record = find_job(call)
    wait, timeout_s, does_foresee = call.query["wait"], call.query["timeout_s"], call.query["with"] == "likely_start"
    if timeout_s is not None and wait is None:
        raise InvalidInput([Problem("timeout_s", "only goes with `wait`")])
    if wait is not None:
        has_come = _has_started if wait == "started" else _has_ended
        limit_s = WAIT_S_DEFAULT if timeout_s is None else timeout_s
        await call.wait_for(lambda: has_come(find_job(call)), limit_s)
        record = find_job(call)
    if does_foresee and record.pending_count:
        call.charge(FORESIGHT_COST)
        await call.context.kernel.rested()
        record = find_job(call)
    state, now_s = call.context.kernel.state, call.context.now_s()
    waiting = Waiting(state, now_s)
    detail = job_detail(record, waiting, call.caller.may(Verb.SEE_PRIVATE, record.owner), state.sequence)
    use = call.context.use_of(record.job_id) if record.active else None
    if use is not None:
        detail = attrs.evolve(detail, use=use, idle_since_s=use.idle_since_s)
    if does_foresee and record.pending_count:
        part = excerpt(state, record.job_id, now_s)
        detail = attrs.evolve(detail, likely_start=await call.context.likely_start(part, now_s))
    return json_answer(detail)


def _has_ended(record: JobRecord) -> bool:
    return record.is_finished


def _has_started(record: JobRecord) -> bool:
    has_run = any(activity.start_time_s is not None for activity in record.active.values())
    return has_run or record.is_finished or any(record.ended.values())


async def list_elements(call: Call) -> Answer:
    record, query = find_job(call), call.query
    chosen = query["state"] or frozenset(JobState)
    first = query["cursor"].index if query["cursor"] else 0
    part = elements_part(record, chosen, first, query["limit"], call.caller.may(Verb.SEE_PRIVATE, record.owner))
    cursor = None if part.next is None else ElementsPosition(part.next)
    sequence = call.context.kernel.state.sequence
    return json_answer(ElementsPage(record.job_id, part.elements, write_cursor(cursor), sequence))


async def show_script(call: Call) -> Answer:
    record = find_job(call)
    if not call.caller.may(Verb.SEE_PRIVATE, record.owner) or not record.spec.script:
        raise NotFound(f"job {record.job_id} has no script that you may see")
    return json_answer(ScriptAnswer(record.job_id, record.spec.script))


async def cancel(call: Call) -> Answer:
    record, selection = _controlled(call)
    count = await call.context.kernel.ask(Cancel(selection, call.caller.user))
    return json_answer(CountAnswer(record.job_id, count))


async def requeue(call: Call) -> Answer:
    record, selection = _controlled(call)
    count = await call.context.kernel.ask(Requeue(selection, call.caller.user))
    return json_answer(CountAnswer(record.job_id, count))


async def suspend(call: Call) -> Answer:
    record, selection = _controlled(call, Verb.SUSPEND_JOB)
    count = await call.context.kernel.ask(Suspend(selection, call.caller.user, call.context.suspenders))
    return json_answer(CountAnswer(record.job_id, count))


async def resume(call: Call) -> Answer:
    record, selection = _controlled(call, Verb.SUSPEND_JOB)
    count = await call.context.kernel.ask(Resume(selection, call.caller.user))
    others = holders_of(call.context.kernel.state, record.job_id, selection.indices)
    return json_answer(ResumeAnswer(record.job_id, count, tuple(others)))


async def hold(call: Call) -> Answer:
    record, selection = _controlled(call)
    await call.context.kernel.ask(Hold(selection, call.caller.user))
    return json_answer(CountAnswer(record.job_id, record.pending_count))


async def release(call: Call) -> Answer:
    record, selection = _controlled(call)
    if record.held_by not in ("", call.caller.user, record.owner.user):
        call.caller.insist(Verb.RELEASE_FOREIGN_HOLD)
    may_overrule = call.caller.may(Verb.RELEASE_FOREIGN_HOLD)  # An operator may hold it before this is decided.
    await call.context.kernel.ask(Release(selection, call.caller.user, may_overrule))
    return json_answer(CountAnswer(record.job_id, record.pending_count))


async def set_priority(call: Call) -> Answer:
    record, body = find_job(call), call.body
    call.caller.insist(Verb.LOWER_PRIORITY, record.owner)
    if body.priority > 0:
        call.caller.insist(Verb.RAISE_PRIORITY)
    await call.context.kernel.ask(SetPriority(record.job_id, body.priority, call.caller.user))
    return json_answer(PriorityAnswer(record.job_id, body.priority))


async def set_weight(call: Call) -> Answer:
    record, body = find_job(call), call.body
    call.caller.insist(Verb.CONTROL_JOB, record.owner)
    await call.context.kernel.ask(SetWeight(record.job_id, body.weight, call.caller.user))
    return json_answer(WeightAnswer(record.job_id, body.weight))


def _controlled(call: Call, verb: Verb = Verb.CONTROL_JOB) -> tuple[JobRecord, JobSelection]:
    """The job and elements that the call is about, once the caller may do this to it."""
    record = find_job(call)
    call.caller.insist(verb, record.owner)
    return record, JobSelection(record.job_id, _indices(call.body.indices))


def _indices(given: str | None) -> Ranges | None:
    if given is None:
        return None
    try:
        array = parse_array(given)
    except InvalidInput as error:
        raise InvalidInput([Problem("indices", problem.text) for problem in error.problems]) from None
    if array.throttle is not None:
        raise InvalidInput([Problem("indices", f"{given[:60]!r} holds a throttle; leave % and what follows away")])
    return array.indices


def _control(
    verb: str, handler: Callable[[Call], Awaitable[Answer]], summary: str, answer: type = CountAnswer
) -> Route:
    return Route(
        method="POST",
        path=f"/v1/jobs/{{job_id}}/{verb}",
        handler=handler,
        summary=summary,
        body=SelectionRequest,
        answer=answer,
        reads_state=False,
    )


_SHOW = (
    one_of("wait", "answer only when the job has started or ended", ("started", "ended")),
    number("timeout_s", "how long to wait at most", WAIT_S_MAX),
    one_of("with", "when a job that waits is likely to start, too", ("likely_start",)),
)

ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs",
        handler=list_jobs,
        summary="The queue, page by page",
        answer=JobsPage,
        query=(
            states("jobs with any element in one of these states; default: all that are not final"),
            texts("user", "of these users"),
            texts("partition", "in these partitions"),
            texts("name", "with one of these names"),
            LIMIT,
            cursor_of(QueuePosition),
        ),
        is_shared=True,
    ),
    Route(
        method="GET",
        path="/v1/jobs/{job_id}",
        handler=show_job,
        summary="Everything about one job; can wait for it",
        answer=JobDetail,
        query=_SHOW,
    ),
    Route(
        method="GET",
        path="/v1/jobs/{job_id}/elements",
        handler=list_elements,
        summary="The elements of an array, page by page",
        answer=ElementsPage,
        query=(states("elements in these states"), LIMIT, cursor_of(ElementsPosition)),
    ),
    Route(
        method="GET",
        path="/v1/jobs/{job_id}/script",
        handler=show_script,
        summary="The script of one's own job",
        answer=ScriptAnswer,
    ),
    _control("cancel", cancel, "End a job or some elements of an array"),
    _control("hold", hold, "Keep a job from starting"),
    _control("release", release, "Let a held job start"),
    _control("requeue", requeue, "End what runs and queue it again"),
    _control("suspend", suspend, "Let what runs stand still, and its CPUs be free"),
    _control("resume", resume, "Let what was suspended go on, as soon as it has its CPUs back", ResumeAnswer),
    Route(
        method="POST",
        path="/v1/jobs/{job_id}/priority",
        handler=set_priority,
        summary="Change the priority; larger is earlier",
        body=PriorityRequest,
        answer=PriorityAnswer,
        reads_state=False,
    ),
    Route(
        method="POST",
        path="/v1/jobs/{job_id}/weight",
        handler=set_weight,
        summary="Change the weight of an elastic job among its owner's others",
        body=WeightRequest,
        answer=WeightAnswer,
        reads_state=False,
    ),
)
