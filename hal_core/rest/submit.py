"""Routes that take jobs in: one, or up to ten thousand at once.

The body is read strictly and parsed by hal_core.parsing; the kernel decides. A bulk parses what its entries share
once: a job that differs only in its arguments costs a copy of a spec, not another reading of the options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import trio

from hal_core.errors import InvalidInput, Problem
from hal_core.models.job import TERMINAL, JobId, JobSpec
from hal_core.models.message import Submission, Submit
from hal_core.parsing.environment import check_strings
from hal_core.parsing.memory import format_memory
from hal_core.parsing.request import CLIENT_ID_CHARACTERS_MAX, JobRequest, ParsedJob
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import BULK_MAX, BulkAnswer, BulkRequest, SubmitAnswer
from hal_core.rest.call import Call, Route
from hal_core.rest.inputs import with_inputs
from hal_core.rest.rights import Verb
from hal_core.rest.strict_json import convert, field_names, read_json, unknown_fields
from hal_core.rules.bad_ends import BadEnds
from hal_core.rules.memory_sizes import UsedMemory

JOBS_PER_SLICE = 100
"""Entries of a bulk that are read before other tasks get a turn: some milliseconds."""
PROBLEMS_MAX = 100
MIB = 1 << 20
BULK_COST = 100.0
"""Of single submissions: what taking in ten thousand jobs at once costs the daemon, roughly."""
_CLIENT_ID_HINT = "give a text of 1 to 128 characters of your own, such as a random UUID"


async def submit(call: Call) -> Answer:
    call.caller.insist(Verb.SUBMIT)
    kernel, owner, request = call.context.kernel, call.caller.owner, call.body
    if not request.client_id:
        raise InvalidInput([Problem("client_id", f"is missing; {_CLIENT_ID_HINT}")])
    parsed = kernel.parse_job(request, owner)
    insist_on_priority(call, parsed)
    is_known = (owner.uid, request.client_id) in kernel.state.client_ids
    specs, left = await with_inputs(call, [Submission(request.client_id, owner, parsed.spec)])
    (spec,), advice = sized(call, specs)
    (job_id,) = await kernel.ask(Submit((Submission(request.client_id, owner, spec),)))
    if spec.input_path == TERMINAL:
        call.context.attendances.expect([job_id])
    return json_answer(SubmitAnswer(job_id, (*parsed.warnings, *left, *advice)), 200 if is_known else 201)


async def submit_bulk(call: Call) -> Answer:
    call.caller.insist(Verb.SUBMIT)
    kernel, owner = call.context.kernel, call.caller.owner
    # JSON of up to 10 MiB takes a tenth of a second to read: not on the loop.
    value = await trio.to_thread.run_sync(_read_bulk, call.body)
    reader = BulkReader(value, lambda request: kernel.parse_job(request, owner))
    submissions: list[Submission] = []
    for start in range(0, len(reader), JOBS_PER_SLICE):
        for client_id, parsed in reader.read(start, start + JOBS_PER_SLICE):
            insist_on_priority(call, parsed)
            submissions.append(Submission(client_id, owner, parsed.spec))
        await trio.lowlevel.checkpoint()
    if reader.problems:
        raise InvalidInput(reader.problems[:PROBLEMS_MAX])
    specs, left = await with_inputs(call, submissions)
    specs, _ = sized(call, specs)
    pairs = zip(submissions, specs, strict=True)
    submissions = [each if spec is each.spec else attrs.evolve(each, spec=spec) for each, spec in pairs]
    await trio.lowlevel.checkpoint()
    known = kernel.state.client_ids
    is_known = all((owner.uid, submission.client_id) in known for submission in submissions)
    job_ids = await kernel.ask(Submit(tuple(submissions)))
    call.context.attendances.expect(
        job_id
        for job_id, submission in zip(job_ids, submissions, strict=True)
        if submission.spec.input_path == TERMINAL
    )
    answer = BulkAnswer(format_ids(job_ids), len(job_ids), [*reader.warnings, *left[:PROBLEMS_MAX]])
    return json_answer(answer, 200 if is_known else 201)


def sized(call: Call, specs: Sequence[JobSpec]) -> tuple[Sequence[JobSpec], tuple[Problem, ...]]:
    """The caller's jobs with the memory of their first attempts, and advice about that of the first."""
    memory, owner = call.context.memory, call.caller.owner
    if memory is None:
        return specs, ()
    found = memory.sized(owner, specs)
    used, ends = memory.unused(owner, found[0]), memory.bad_ends(owner, found[0])
    advice = () if used is None else (Problem("mem", _unused_text(used, found[0])),)
    return found, advice if ends is None else (*advice, _ends_advice(ends))


def _ends_advice(ends: BadEnds) -> Problem:
    if ends.is_time_short:
        text = f"{ends.time_limit_count} of your last {ends.job_count} such jobs ran into their time limit"
        return Problem("time", f"{text}; ask for more, or let the job save what it has before that")
    text = f"{ends.failed_count} of your last {ends.job_count} such jobs failed"
    return Problem("job", f"{text}; `hal history` says how")


def _unused_text(used: UsedMemory, spec: JobSpec) -> str:
    peak_bytes = -(-used.peak_bytes // MIB) * MIB
    asked = f"{format_memory(peak_bytes)} of {format_memory(spec.memory_bytes_per_node)}"
    more = "" if spec.array or spec.variants else ", or with --auto-memory,"
    return f"your last {used.job_count} such jobs used at most {asked}; with less{more} the next may start sooner"


def insist_on_priority(call: Call, parsed: ParsedJob) -> None:
    if parsed.spec.priority > 0:
        call.caller.insist(Verb.RAISE_PRIORITY)


def format_ids(job_ids: Sequence[JobId]) -> str:
    """Ids in their order; a run of consecutive ones as `first-last`."""
    runs: list[list[int]] = []
    for job_id in job_ids:
        if runs and job_id == runs[-1][1] + 1:
            runs[-1][1] = job_id
        else:
            runs.append([job_id, job_id])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _read_bulk(body: bytes) -> dict[str, Any]:
    """The outer shape. Entries stay plain values: most of them need no class of their own."""
    value = read_json(body)
    problems = list(unknown_fields(value, BulkRequest, ""))
    if problems:
        raise InvalidInput(problems)
    if not isinstance(value, dict) or not isinstance(value.get("jobs"), list):
        raise InvalidInput([Problem("jobs", "send an object with a list of `jobs`")])
    if not 0 < len(value["jobs"]) <= BULK_MAX:
        raise InvalidInput([Problem("jobs", f"has {len(value['jobs'])} entries; 1 to {BULK_MAX} are possible")])
    return value


class BulkReader:
    """Reads entries one after the other, remembering what was parsed already. Collects problems and warnings."""

    def __init__(self, value: dict[str, Any], parse: Callable[[JobRequest], ParsedJob]) -> None:
        self.problems: list[Problem] = []
        self.warnings: dict[Problem, None] = {}
        self._parse = parse
        self._jobs: list[Any] = value["jobs"]
        common = value.get("common", {})
        self.problems += unknown_fields(common, JobRequest, "common")
        self._common = convert(common, JobRequest, "common")
        self._parsed: dict[JobRequest, ParsedJob] = {}
        self._names = frozenset(field_names(JobRequest))

    def __len__(self) -> int:
        return len(self._jobs)

    def read(self, start: int, stop: int) -> Iterator[tuple[str, ParsedJob]]:
        """(client id, parsed job) of the entries [start, stop) that hold; the problems of the others are noted."""
        for number in range(start, min(stop, len(self._jobs))):
            if len(self.problems) >= PROBLEMS_MAX:
                return
            try:
                yield self._read_one(number, self._jobs[number])
            except InvalidInput as error:
                place = f"jobs[{number}]"
                self.problems += [
                    Problem(
                        each.place if each.place.startswith(place) else f"{place}.{each.place}".rstrip("."), each.text
                    )
                    for each in error.problems
                ]

    def _read_one(self, number: int, entry: Any) -> tuple[str, ParsedJob]:
        if isinstance(entry, dict) and not self._names.issuperset(entry):
            raise InvalidInput(unknown_fields(entry, JobRequest, f"jobs[{number}]"))
        own = convert(entry, JobRequest, f"jobs[{number}]")
        common = self._common
        client_id = own.client_id or (f"{common.client_id}.{number}" if common.client_id else "")
        if not 0 < len(client_id) <= CLIENT_ID_CHARACTERS_MAX:
            raise InvalidInput([Problem("client_id", f"is missing or too long; {_CLIENT_ID_HINT}, best in `common`")])
        # Everything but the words that differ from entry to entry: equal requests are parsed once.
        command, arguments = own.command or common.command, own.arguments or common.arguments
        plain = JobRequest(
            script=own.script or common.script,
            script_name=own.script_name or common.script_name,
            arguments=arguments[:0],
            command=command[:1],
            options=common.options + own.options,
            working_directory=entry.get("working_directory", common.working_directory),
            environment=common.environment + own.environment,
        )
        parsed = self._parsed.get(plain)
        if parsed is None:
            parsed = self._parsed[plain] = self._parse(plain)
            self.warnings.update(dict.fromkeys(parsed.warnings))
        if len(command) > 1:
            check_strings("command", command)
            parsed = attrs.evolve(parsed, spec=attrs.evolve(parsed.spec, command=command))
        if arguments and not plain.script:
            parsed = self._parse(attrs.evolve(plain, arguments=arguments))  # only scripts take them: the parser says so
        elif arguments:
            check_strings("arguments", arguments)
            parsed = attrs.evolve(parsed, spec=attrs.evolve(parsed.spec, arguments=arguments))
        return client_id, parsed


ROUTES = (
    Route(
        method="POST",
        path="/v1/jobs",
        handler=submit,
        summary="Submit one job. Repeating a client_id gives the same job",
        body=JobRequest,
        answer=SubmitAnswer,
        statuses=(201, 200),
        reads_state=False,
    ),
    Route(
        method="POST",
        path="/v1/jobs/bulk",
        cost=BULK_COST,
        handler=submit_bulk,
        summary="Submit up to 10,000 jobs, all or none",
        body=BulkRequest,
        is_body_raw=True,
        answer=BulkAnswer,
        statuses=(201, 200),
        reads_state=False,
    ),
)
