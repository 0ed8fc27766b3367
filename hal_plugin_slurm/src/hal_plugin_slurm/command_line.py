"""The way into Slurm by its commands: sbatch, squeue, sacct, scancel and sinfo.

Times are asked for as seconds since the epoch, fields as columns of any width, so that nothing depends on the locale or
on the site's defaults for formats. Names may hold anything, the ends of lines too: what separates columns is another
secret in each question, so that nobody's name can say something of other jobs.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs

from hal_core import format_ranges
from hal_plugin_slurm.pieces import read_all
from hal_plugin_slurm.reservations import ReservationReader
from hal_plugin_slurm.shell import Done, Shell
from hal_plugin_slurm.usage import Step, Used, cpu_time_of, memory_of, used_by
from hal_plugin_slurm.way import (
    SlurmJob,
    SlurmNode,
    SlurmRefused,
    SlurmReservation,
    SlurmSilent,
    SlurmUnanswered,
    Submission,
    Target,
    gpus_of,
    indices_of,
    kept_cpu_count,
    limit_of,
    wait_status,
)

ENVIRONMENT: Final = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
"""Seconds since the epoch; and the indices of an array in full, where squeue writes only 64 letters otherwise."""
NAMES_PER_QUESTION = 500
NOT_ASKED = ("connect failure", "could not establish", "No such file or directory", "Unable to resolve")
"""In what a command says when it never reached slurmctld."""
NOT_KNOWN = (
    "timed out",
    "Zero Bytes",
    "not connected",
    "Communication",
    "communication",
    "Connection",
    "Unexpected message",
    "Unable to contact",
    "Broken pipe",
    "Resource temporarily unavailable",
    "Protocol",
)
"""In what a command says when its request, or the answer to it, was lost."""
NO_ACCOUNTING = "accounting storage is disabled"
JOB_FIELDS = (
    "JobID",
    "ArrayJobID",
    "ArrayTaskID",
    "State",
    "exit_code",
    "StartTime",
    "EndTime",
    "Reason",
    "NodeList",
    "UserName",
    "Partition",
    "PriorityLong",
    "TimeLimit",
    "tres-alloc",
    "SubmitTime",
    "Reservation",
)
PAST_FIELDS = (
    *("JobIDRaw", "JobID", "State", "ExitCode", "Start", "End", "NodeList"),
    *("TotalCPU", "MaxRSS", "NTasks", "NNodes"),
)
NODE_FIELDS = ("NodeList", "StateLong", "CPUs", "Memory", "Gres", "Partition")


class CommandLine:
    """Implements way.Way. `own_user` is whose jobs are submitted without saying for whom: only root may say so."""

    def __init__(self, shell: Shell, own_user: str) -> None:
        self._shell = shell
        self._own_user = own_user
        self._reservations = ReservationReader()

    async def submit(self, submission: Submission) -> int:
        words = ["sbatch", *submit_words(submission)]
        if submission.user != self._own_user:
            words.append(f"--uid={submission.user}")
        done = await self._shell.run(words, submission.script)
        if done.code == 0:
            first = done.output.strip().partition(";")[0]
            if first.isdecimal():
                return int(first)
            raise SlurmUnanswered(f"sbatch answered {done.output[:200]!r} instead of a job id")
        raise _failure("sbatch", done)

    async def jobs(self) -> Sequence[SlurmJob]:
        separator = _separator()
        columns = ",".join(f"{field}:{separator}" for field in (*JOB_FIELDS, "Name"))
        done = await self._ask(["squeue", "--noheader", "--states=all", f"--Format={columns}"])
        return await read_all(_job, _rows("squeue", done.output, separator, len(JOB_FIELDS) + 1))

    async def history(self, names: Sequence[str], since_s: float) -> Sequence[SlurmJob] | None:
        found: list[SlurmJob] = []
        separator = _separator()
        start = datetime.fromtimestamp(since_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for first in range(0, len(names), NAMES_PER_QUESTION):
            chosen = ",".join(names[first : first + NAMES_PER_QUESTION])
            words = ["env", "TZ=UTC", "sacct", "--noheader", "--parsable", "--noconvert", "--allusers"]
            words.append(f"--delimiter={separator}")
            words += [f"--starttime={start}", f"--name={chosen}", f"--format={','.join((*PAST_FIELDS, 'JobName'))}"]
            done = await self._shell.run(words)
            if NO_ACCOUNTING in done.error:
                return None
            if done.code != 0:
                raise _failure("sacct", done, is_question=True)
            found += await _past_jobs(_rows("sacct", done.output, separator, len(PAST_FIELDS) + 1))
        return found

    async def cancel(self, targets: Sequence[Target]) -> None:
        words = [f"{job_id}_[{format_ranges(some)}]" if some is not None else str(job_id) for job_id, some in targets]
        done = await self._shell.run(["scancel", "--quiet", *words])
        if done.code != 0 and "already completing or completed" not in done.error:
            raise _failure("scancel", done)

    async def nodes(self) -> Sequence[SlurmNode]:
        separator = _separator()
        columns = ",".join(f"{field}:{separator}" for field in (*NODE_FIELDS, "Reason"))
        done = await self._ask(["sinfo", "--noheader", "--Node", f"--Format={columns}"])
        rows = _rows("sinfo", done.output, separator, len(NODE_FIELDS) + 1)
        found: dict[str, SlurmNode] = {}
        for node in await read_all(_node, rows):  # a node has a line in each of its partitions
            known = found.get(node.name)
            partitions = (*known.partitions, *node.partitions) if known else node.partitions
            found[node.name] = attrs.evolve(node, partitions=partitions)
        return list(found.values())

    async def reservations(self) -> Sequence[SlurmReservation]:
        done = await self._ask(["scontrol", "--oneliner", "show", "reservation"])
        lines = [line for line in done.output.splitlines() if line.startswith("ReservationName=")]
        return self._reservations.read_all(_reservation, lines)

    async def _ask(self, words: Sequence[str]) -> Done:
        done = await self._shell.run(words)
        if done.code != 0:
            raise _failure(words[0], done, is_question=True)
        return done


def submit_words(submission: Submission) -> list[str]:
    """The options of sbatch; the script comes by its input."""
    asked = {
        "job-name": submission.name,
        "chdir": submission.directory,
        "output": submission.output,
        "error": submission.error if submission.error != submission.output else "",
        "input": submission.input,
        "open-mode": "append" if submission.does_append else "truncate",
        "partition": submission.partition,
        "array": submission.indices,
        "nodes": str(submission.node_count),
        "ntasks": str(submission.task_count),
        "ntasks-per-node": str(submission.tasks_per_node),
        "cpus-per-task": str(submission.cpus_per_task),
        "mem": f"{submission.memory_mb_per_node}M" if submission.memory_mb_per_node else "",
        "gres": submission.gres_per_node,
        "constraint": submission.constraint,
        "time": str(submission.time_limit_min) if submission.time_limit_min else "",
        "account": submission.account,
        "qos": submission.qos,
        "reservation": submission.reservation,
        "comment": submission.comment,
    }
    words = ["--parsable", "--no-requeue", "--export=ALL"]
    words += [f"--{name}={value}" for name, value in asked.items() if value]
    return [*words, "--exclusive"] if submission.is_exclusive else words


def _failure(name: str, done: Done, is_question: bool = False) -> SlurmRefused | SlurmSilent:
    text = " ".join(line.strip() for line in done.error.splitlines() if line.strip()) or f"exit code {done.code}"
    text = f"{name}: {text.removeprefix(f'{name}: ').removeprefix('error: ')}"
    if any(words in text for words in NOT_ASKED):
        return SlurmSilent(text)
    if is_question or any(words in text for words in NOT_KNOWN):
        return SlurmUnanswered(text)
    return SlurmRefused(text)


def _separator() -> str:
    return f"|{secrets.token_hex(8)}|"


def _rows(name: str, output: str, separator: str, columns: int) -> Iterable[list[str]]:
    """So many columns each, with a separator behind every one. Half an answer is none."""
    *fields, rest = output.split(separator)
    if rest.strip() or len(fields) % columns:
        raise SlurmUnanswered(f"{name} answered {output[-200:]!r} in the end, which are not {columns} columns")
    for first in range(0, len(fields), columns):
        row = fields[first : first + columns]
        yield [row[0].lstrip("\n"), *row[1:]]


def _job(row: list[str]) -> SlurmJob:
    job_id, array_id, index, state, status, start, end, reason, nodes, user, *asked, name = row
    partition, priority, limit, tres, submit, reservation = asked
    try:
        code, signal = _end(status)
        is_rest = index not in ("", "N/A") and not index.isdecimal()
        return SlurmJob(
            native_id=int(array_id or job_id),
            name=name,
            state=state,
            index=int(index) if index.isdecimal() else None,
            is_rest=is_rest,
            rest=indices_of(index) if is_rest else (),
            exit_code=code,
            signal=signal,
            start_time_s=_instant(start),
            end_time_s=_instant(end),
            nodes=nodes,
            reason=reason,
            user=user,
            partition=partition,
            priority=int(priority or 0),
            limit_s=limit_of(limit),
            tres=tres,
            submit_time_s=_instant(submit) or 0.0,
            reservation=_told(reservation),
        )
    except ValueError:
        raise SlurmUnanswered(f"squeue answered {'|'.join(row)[:200]!r}") from None


async def _past_jobs(rows: Iterable[list[str]]) -> list[SlurmJob]:
    """A job's steps come behind it, with its number before a point."""
    jobs, steps = list[list[str]](), defaultdict[str, list[list[str]]](list)
    for row in rows:
        job_id, is_step, _ = row[0].partition(".")
        if is_step:
            steps[job_id].append(row)
        else:
            jobs.append(row)
    return await read_all(lambda row: _past_job(row, steps.get(row[0], [])), jobs)


def _past_job(row: list[str], steps: list[list[str]]) -> SlurmJob:
    raw_id, shown_id, state, status, start, end, nodes, *_, name = row
    array_id, _, index = shown_id.partition("_")
    code, _, signal = status.partition(":")
    is_rest = bool(index) and not index.isdecimal()
    try:
        return SlurmJob(
            native_id=int(array_id if index else raw_id),
            name=name,
            state=state.partition(" ")[0],
            index=int(index) if index.isdecimal() else None,
            is_rest=is_rest,
            rest=indices_of(index) if is_rest else (),
            exit_code=None if signal != "0" else int(code),
            signal=int(signal) or None,
            start_time_s=_instant(start),
            end_time_s=_instant(end),
            nodes=nodes,
            used=_used(steps),
        )
    except ValueError:
        raise SlurmUnanswered(f"sacct answered {'|'.join(row)[:200]!r}") from None


def _used(steps: list[list[str]]) -> Used | None:
    """What cannot be read is not known: it is no reason to doubt how a job ended."""
    try:
        return used_by(map(_step, steps))
    except ValueError:
        return None


def _step(row: list[str]) -> Step:
    state, (cpu, memory, tasks, nodes) = row[2], row[7:11]
    return Step(state.partition(" ")[0], cpu_time_of(cpu), memory_of(memory), int(tasks or 1), int(nodes or 1))


def _node(row: list[str]) -> SlurmNode:
    name, state, cpus, memory_mb, gres, partition, reason = row
    try:
        return SlurmNode(
            name=name,
            state=state.rstrip("*~#!%$@^-+"),
            cpu_count=int(cpus),
            memory_mb=int(memory_mb),
            gpus=gpus_of(gres),
            reason="" if reason == "none" else reason,
            partitions=(partition.rstrip("*"),) if partition else (),
        )
    except ValueError:
        raise SlurmUnanswered(f"sinfo answered {'|'.join(row)[:200]!r}") from None


def _reservation(line: str) -> SlurmReservation:
    fields = dict(word.partition("=")[::2] for word in line.split())
    try:
        return SlurmReservation(
            name=fields["ReservationName"],
            nodes=_told(fields["Nodes"]),
            start_time_s=float(fields["StartTime"]),
            end_time_s=float(fields["EndTime"]),
            cpu_count=kept_cpu_count(fields["TRES"]),
        )
    except (KeyError, ValueError):
        raise SlurmUnanswered(f"scontrol answered {line[:200]!r}") from None


def _told(text: str) -> str:
    return "" if text == "(null)" else text


def _end(text: str) -> tuple[int | None, int | None]:
    """(exit code, signal) of what squeue calls `exit_code`: a wait status (22.05), or `code:signal` (24.11)."""
    code, colon, signal = text.partition(":")
    if not colon:
        return wait_status(int(code))
    return (None, int(signal)) if int(signal) else (int(code), None)


def _instant(text: str) -> float | None:
    return float(text) if text.isdecimal() and text != "0" else None
