"""Routes of receipts: one job's, and sums of many. Both come from the journal, not from what the state remembers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from hal_core.errors import NotFound
from hal_core.models.event import Event, JobSubmitted
from hal_core.models.history import HISTORY_LIMIT_MAX, HistoryFilters
from hal_core.models.job import JobId
from hal_core.models.receipt import Receipt
from hal_core.models.use import JobUse
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import ReceiptsAnswer
from hal_core.rest.call import JOURNAL_COST, Call, Route
from hal_core.rest.jobs import job_id_of
from hal_core.rest.port import JournalReader
from hal_core.rest.query import Parameter, one_of, text
from hal_core.rest.rights import Verb
from hal_core.rules.receipt import ReceiptFold
from hal_core.rules.receipt_gates import gates_of, is_singleton, parents_of
from hal_core.rules.receipt_sums import SumFilters, summed

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


async def show_receipt(call: Call) -> Answer:
    return json_answer(await _receipt(call))


async def show_receipt_with_start(call: Call) -> Answer:
    receipt = await _receipt(call)
    if receipt.right_size is not None:
        start_time_s = await call.context.earliest_start(receipt.job_id, receipt.right_size)
        receipt = attrs.evolve(receipt, right_size=attrs.evolve(receipt.right_size, start_time_s=start_time_s))
    return json_answer(receipt)


async def _receipt(call: Call) -> Receipt:
    call.caller.insist(Verb.SEE_JOB)
    kernel, job_id = call.context.kernel, job_id_of(call)
    await kernel.settled()
    record = kernel.state.find(job_id)
    receipt = await trio.to_thread.run_sync(
        partial(
            read_receipt,
            kernel.journal,
            job_id,
            is_over=record is None or record.is_finished,
            is_met=record is None or record.is_met,
            now_s=call.context.now_s(),
        )
    )
    use = call.context.use_of(job_id) if record is not None and record.active else None
    return receipt if use is None else with_use(receipt, use)


def with_use(receipt: Receipt, use: JobUse) -> Receipt:
    """What still runs is not in the journal yet: what was measured of it so far is added to what is."""
    peak_memory_bytes = max(receipt.peak_memory_bytes or 0, use.memory_bytes_max)
    return attrs.evolve(receipt, cpu_s=(receipt.cpu_s or 0.0) + use.cpu_s, peak_memory_bytes=peak_memory_bytes)


def read_receipt(journal: JournalReader, job_id: JobId, is_over: bool, is_met: bool, now_s: float) -> Receipt:
    """The job's receipt as it is now. Blocks while the journal is read.

    `is_over`: it has ended; `is_met`: its dependencies are met. Raises NotFound.
    """
    events = journal.events_of(job_id, is_over)
    submitted = next((event for event in events if isinstance(event, JobSubmitted)), None)
    if submitted is None:
        raise NotFound(f"there is no job {job_id}")
    rivals = _rivals(journal, submitted) if is_singleton(submitted.spec) else ()
    others = {other: journal.events_of(other) for other in {*parents_of(submitted.spec), *rivals}}
    gates = gates_of(submitted, events, others, rivals)
    if not is_met:
        gates = attrs.evolve(gates, met_time_s=math.inf)
    fold = ReceiptFold(submitted, {}, gates)
    for event in _own(events):
        fold.apply(event)
    return fold.receipt(now_s)


def _own(events: Sequence[Event]) -> list[Event]:
    """Without the submission; the cluster that was there before it is known at once."""
    return [event for event in events if not isinstance(event, JobSubmitted)]


def _rivals(journal: JournalReader, submitted: JobSubmitted) -> tuple[JobId, ...]:
    """Earlier jobs of its name and user that ended after it came. As many as one page of the history has."""
    filters = HistoryFilters(user=submitted.owner.user, name=submitted.spec.name, since_s=submitted.time_s)
    page = journal.history(filters, HISTORY_LIMIT_MAX)
    return tuple({entry.job_id for entry in page.entries if entry.job_id < submitted.job_id})


async def list_sums(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_JOB)
    query, sequence = call.query, call.context.kernel.durable_sequence
    rows = await call.context.sum_receipts()
    filters = SumFilters((query["by"] or "user",), query["user"], query["account"], query["month"])
    return json_answer(ReceiptsAnswer(summed(rows, filters), sequence))


def _month() -> Parameter:
    def read(given: str) -> str:
        if not _MONTH.fullmatch(given):
            raise ValueError("is not a month; write it as 2026-11")
        return given

    return Parameter("month", "of jobs that ended in this month, in UTC", read, {"type": "string"})


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/{job_id}/receipt",
        handler=show_receipt,
        summary="What a job waited for, ran, used and cost",
        answer=Receipt,
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/v1/jobs/{job_id}/receipt/start",
        handler=show_receipt_with_start,
        summary="The same, and when the job could have started with its right size",
        answer=Receipt,
        cost=JOURNAL_COST,
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/v1/receipts",
        handler=list_sums,
        summary="Receipts of ended jobs, added up",
        answer=ReceiptsAnswer,
        query=(
            one_of("by", "a sum for each of these; default: user", ("user", "account", "month", "day")),
            text("user", "of this user"),
            text("account", "of this account"),
            _month(),
        ),
        cost=JOURNAL_COST,
        reads_state=False,
    ),
)
