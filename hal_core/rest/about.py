"""Routes about HAL itself and its past: status, history, plugins, configuration, metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import attrs
import trio

from hal_core.errors import InvalidInput, Problem, Refused
from hal_core.models.access import AccessChange
from hal_core.models.history import HistoryEntry, HistoryFilters
from hal_core.models.job import JobId
from hal_core.models.message import NoteAccess
from hal_core.models.plugin import Provided
from hal_core.models.role import Role
from hal_core.parsing.durations import format_interval, parse_interval
from hal_core.parsing.text import placed
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import (
    CallerView,
    HistoryAnswer,
    PluginsAnswer,
    StatusAnswer,
    TokenAnswer,
    TokenRequest,
)
from hal_core.rest.call import JOURNAL_COST, Call, Route
from hal_core.rest.port import ConfigurationView, JournalReader
from hal_core.rest.query import (
    LIMIT,
    SEQUENCE_MAX,
    cursor_of,
    integer,
    number,
    one_of,
    some_of,
    states,
    text,
    write_cursor,
)
from hal_core.rest.rights import Forbidden, Verb
from hal_core.rules.end_costs import costs_of_ends
from hal_core.rules.node_view import cluster_view
from hal_core.rules.queue_view import queue_counts

TIME_S_MAX = 1e11

log = logging.getLogger("hal.rest")


@attrs.frozen
class HistoryPosition:
    """After this entry."""

    sequence: int


async def show_status(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_HAL)
    context, caller = call.context, call.caller
    state = context.kernel.state
    cluster, problem = cluster_view(state), context.problem()
    return json_answer(
        StatusAnswer(
            cluster=state.cluster.name,
            version=context.version,
            time_s=context.now_s(),
            started_time_s=context.started_time_s,
            sequence=state.sequence,
            is_accepting=not problem,
            problem=problem,
            nodes=cluster.nodes,
            drained_count=cluster.drained_count,
            cpu_count=cluster.cpu_count,
            cpus_free=cluster.cpus_free,
            cpus_busy=None if context.uses is None else context.uses.cpus(),
            jobs=queue_counts(state),
            caller=CallerView(caller.user, caller.uid, caller.role.value),
        )
    )


async def show_history(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_JOB)
    query, kernel = call.query, call.context.kernel
    if query["with"]:
        call.charge(JOURNAL_COST)
    filters = HistoryFilters(
        user=query["user"],
        states=tuple(sorted(query["state"], key=lambda state: state.value)),
        name=query["name"],
        partition=query["partition"],
        since_s=query["since_time_s"],
        until_s=query["until_time_s"],
        job_id=None if query["job_id"] is None else JobId(query["job_id"]),
        is_oldest_first=query["order"] == "oldest",
    )
    after = query["cursor"].sequence if query["cursor"] else None
    sequence = kernel.durable_sequence
    page = await trio.to_thread.run_sync(kernel.journal.history, filters, query["limit"], after)
    entries = page.entries
    if "predictions" in query["with"]:
        entries = await trio.to_thread.run_sync(_with_predictions, kernel.journal, entries)
    if "cost" in query["with"]:
        records = {each.job_id: kernel.state.find(each.job_id) for each in entries}
        over = {job_id: record is None or record.is_finished for job_id, record in records.items()}
        entries = await trio.to_thread.run_sync(_with_costs, kernel.journal, entries, over)
    cursor = None if page.next_cursor is None else HistoryPosition(page.next_cursor)
    return json_answer(HistoryAnswer(entries, write_cursor(cursor), sequence))


def _with_predictions(journal: JournalReader, entries: tuple[HistoryEntry, ...]) -> tuple[HistoryEntry, ...]:
    """Blocks while they are looked for."""
    said = journal.predictions_of(entries)
    return tuple(attrs.evolve(each, prediction=said.get(each.sequence)) for each in entries)


def _with_costs(
    journal: JournalReader, entries: tuple[HistoryEntry, ...], over: Mapping[JobId, bool]
) -> tuple[HistoryEntry, ...]:
    """Blocks while the events of their jobs are read. `over` says of each whether it has ended as a whole."""
    costs = {job_id: costs_of_ends(journal.events_of(job_id, is_over)) for job_id, is_over in over.items()}
    return tuple(attrs.evolve(each, money=costs[each.job_id].get(each.elements)) for each in entries)


async def show_plugins(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_HAL)
    listings = call.context.plugins()
    if call.caller.role is Role.USER:
        listings = [attrs.evolve(each, provides=tuple(map(_untold, each.provides))) for each in listings]
    return json_answer(PluginsAnswer(tuple(listings)))


def _untold(provided: Provided) -> Provided:
    """What went wrong may name others' data, and what opens it: that is for those who operate HAL."""
    conduct = provided.conduct
    return provided if conduct is None else attrs.evolve(provided, conduct=attrs.evolve(conduct, last_problem=""))


async def show_configuration(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_HAL)
    return await trio.to_thread.run_sync(lambda: json_answer(call.context.configuration()))


async def show_metrics(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_HAL)
    return Answer(call.context.metrics().encode("utf-8"), media_type="text/plain; version=0.0.4; charset=utf-8")


async def make_token(call: Call) -> Answer:
    """Only for whom this machine's kernel vouches: a token that begets tokens would never expire."""
    tokens, caller = call.context.tokens, call.caller
    if not caller.is_local:
        raise Forbidden("a token cannot be used to get another one; run `hal token` on the daemon's machine")
    caller.insist(Verb.MAKE_TOKEN, caller.owner)
    if tokens is None:
        raise Refused(
            "this daemon has no address for browsers and other machines; give it one: listen.address in its "
            "configuration, or `hal dev --address 127.0.0.1:8817`"
        )
    lifetime_s = _lifetime_s(call.body.lifetime, tokens.lifetime_s_max)
    issued = tokens.issue(caller.owner, lifetime_s, call.context.now_s())
    claims = issued.claims
    detail = f"{claims.nonce}, good until {claims.end_time_s:.0f}"
    await call.context.kernel.ask(NoteAccess(AccessChange.TOKEN_MADE, claims.user, caller.user, detail))
    log.info("token %s for user %s (%d) until %d", claims.nonce, claims.user, claims.uid, claims.end_time_s)
    return json_answer(TokenAnswer(issued.token, claims.user, claims.end_time_s, claims.nonce), 201)


def _lifetime_s(given: str | None, most_s: float) -> float:
    if given is None:
        return most_s
    try:
        lifetime_s = parse_interval(given)
    except InvalidInput as error:
        raise InvalidInput(placed(error, "lifetime")) from None
    if not 1 <= lifetime_s <= most_s:
        text = f"{given} is out of range; this site allows 1s to {format_interval(most_s)}"
        raise InvalidInput([Problem("lifetime", text)])
    return lifetime_s


ROUTES = (
    Route(
        method="POST",
        path="/v1/tokens",
        handler=make_token,
        summary="A token with which the caller can call from other machines",
        body=TokenRequest,
        answer=TokenAnswer,
        statuses=(201,),
        reads_state=False,
    ),
    Route(method="GET", path="/v1/status", handler=show_status, summary="How HAL is", answer=StatusAnswer),
    Route(
        method="GET",
        path="/v1/history",
        handler=show_history,
        summary="Ends of jobs, page by page, latest first",
        answer=HistoryAnswer,
        query=(
            text("user", "of this user"),
            states("that ended so"),
            text("partition", "in this partition"),
            text("name", "with this name"),
            integer("job_id", "of this job", 1, SEQUENCE_MAX),
            number("since_time_s", "ended then or later", TIME_S_MAX),
            number("until_time_s", "ended earlier than this", TIME_S_MAX),
            one_of("order", "which end comes first; default: latest", ("latest", "oldest")),
            some_of("with", "what each end cost, and what was said of its run time, too", ("cost", "predictions")),
            LIMIT,
            cursor_of(HistoryPosition),
        ),
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/v1/plugins",
        handler=show_plugins,
        summary="What is installed",
        answer=PluginsAnswer,
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/v1/configuration",
        handler=show_configuration,
        summary="What is in force, defaults applied, without secrets",
        answer=ConfigurationView,
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=show_metrics,
        summary="Figures for Prometheus",
        media_type="text/plain",
        reads_state=False,
    ),
)
