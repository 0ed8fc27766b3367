"""Taking jobs in, and taking a configuration in: what is refused here never becomes an event."""

from __future__ import annotations

import posixpath
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

import attrs

from hal_core.errors import Conflict, InvalidInput, NotFound, Problem, did_you_mean
from hal_core.models.dataset import REFERENCE, Measured
from hal_core.models.event import ClusterDefined, Event, JobSubmitted
from hal_core.models.job import DependencyKind, JobId, JobSpec, Owner
from hal_core.models.message import DefineCluster, Submission, Submit
from hal_core.rules import anonymous, catalogue
from hal_core.rules.charging import charged
from hal_core.rules.limits import Door

if TYPE_CHECKING:
    from hal_core.rules.state import State


SLICE: Final = 500
"""Submissions that are looked at in one go: some milliseconds."""


def submit(state: State, message: Submit, now_s: float) -> Generator[None, None, tuple[list[Event], tuple[JobId, ...]]]:
    """All or none, with a pause after every SLICE of them, during which nothing may be decided. A client id that was
    used by the same user before is answered with the same job."""
    problems: list[Problem] = []
    events: list[Event] = []
    ids: list[JobId] = []
    next_id = state.next_job_id
    door = Door(state.limits)
    in_this_batch: dict[tuple[int, str], tuple[JobId, JobSpec]] = {}
    for number, submission in enumerate(message.submissions):
        if number and not number % SLICE:
            yield
        known = _known(state, submission, in_this_batch)
        if known is not None:
            ids.append(known)
            continue
        spec, wrong = charged(state.cluster, submission.owner, submission.spec)
        spec, unknown = catalogue.resolved(state, spec)
        problems += (*wrong, *unknown, *late(spec, now_s), *_problems(state, spec))
        problems += catalogue.output_problems(state, spec, submission.owner)
        problems += state.reservations.problems(spec, submission.owner, now_s)
        problems += door.problems(submission.owner, spec)
        job_id = JobId(next_id)
        next_id += 1
        ids.append(job_id)
        if submission.client_id:
            in_this_batch[submission.owner.uid, submission.client_id] = (job_id, spec)
        events.append(JobSubmitted(now_s, job_id, submission.client_id, submission.owner, spec))
    if problems:
        raise InvalidInput(dict.fromkeys(problems))
    return events, tuple(ids)


def _known(
    state: State, submission: Submission, in_this_batch: dict[tuple[int, str], tuple[JobId, JobSpec]]
) -> JobId | None:
    """The job that the client id already stands for. Raises Conflict if it was another request."""
    key = (submission.owner.uid, submission.client_id)
    if not submission.client_id:
        return None
    if key in in_this_batch:
        job_id, spec = in_this_batch[key]
    elif key in state.client_ids:
        job_id = state.client_ids[key][0]
        record = state.find(job_id)
        if record is None:
            return job_id
        spec = record.spec
    else:
        return None
    given, _ = charged(state.cluster, submission.owner, submission.spec)
    if not _is_same_request(spec, given, submission.owner):
        raise Conflict(f"client id {submission.client_id!r} was used for job {job_id}, which asks for something else")
    return job_id


def _is_same_request(known: JobSpec, given: JobSpec, owner: Owner) -> bool:
    """What counts is that the same was asked for: `now+1hour` means another moment each time it is read, and by now HAL
    may have chosen another variant, or would give a first attempt another size."""
    if known.variants:
        known = known.in_variant(0)
    given = attrs.evolve(given, first_memory_bytes=known.first_memory_bytes)
    if known.begin and known.begin == given.begin:
        given = attrs.evolve(given, begin_time_s=known.begin_time_s)
    if known.deadline and known.deadline == given.deadline:
        given = attrs.evolve(given, deadline_time_s=known.deadline_time_s)
    pairs = zip(known.inputs, given.inputs, strict=False)
    if len(known.inputs) == len(given.inputs) and all(_is_version_of(*each, given, owner) for each in pairs):
        given = attrs.evolve(given, inputs=known.inputs)
    return known == given


def _is_version_of(known: str, given: str, spec: JobSpec, owner: Owner) -> bool:
    """A dataset without a version means another one each time that one is added, an address what is there now: whether
    that could be had is not what was asked for."""
    is_newer = given.startswith(REFERENCE) and known.startswith(f"{given}@")
    return (
        known == given
        or is_newer
        or anonymous.is_same_address(known, given)
        or _is_at(known, given, spec, owner)
        or _is_at(given, known, spec, owner)
    )


def _is_at(dataset: str, text: str, spec: JobSpec, owner: Owner) -> bool:
    """Whether a dataset without a name is what stands at the text: as it is, or as a path (kernel/providers.py)."""
    if not dataset.startswith(f"{REFERENCE}{anonymous.MARK}") or text.startswith(REFERENCE):
        return False
    addresses = (text, posixpath.join(spec.working_directory, text))
    there = (anonymous.anonymous(each, Measured(0, ""), owner) for each in addresses)
    return any(anonymous.is_same_address(dataset, f"{REFERENCE}{each.id}") for each in there)


def late(spec: JobSpec, now_s: float) -> list[Problem]:
    """A deadline that is over: only of what is new, for what was taken in before it was is the same job still."""
    if spec.deadline_time_s is None or spec.deadline_time_s > now_s:
        return []
    return [Problem("deadline", f"{spec.deadline!r} is over; give a time that is to come")]


def _problems(state: State, spec: JobSpec) -> list[Problem]:
    """What only the state can know to be wrong; the request itself was checked when it was parsed."""
    problems = []
    if spec.partition not in state.partitions:
        known = ", ".join(state.partitions) or "none"
        hint = did_you_mean(spec.partition, state.partitions)
        problems.append(Problem("partition", f"no partition named {spec.partition!r}{hint}; there are: {known}"))
    problems += _topology_problems(state, spec)
    for name, count in spec.licences:
        declared = state.limits.licences.declared
        known = ", ".join(declared) or "none"
        if name not in declared:
            problems.append(
                Problem("licenses", f"no licence {name!r}{did_you_mean(name, declared)}; there are: {known}")
            )
        elif count > declared[name]:
            problems.append(Problem("licenses", f"{count} of licence {name!r}; there are only {declared[name]}"))
    for dependency in spec.dependencies:
        if dependency.kind is DependencyKind.SINGLETON:
            continue
        parent = state.find(dependency.job_id)
        if parent is None and not _has_ended(state, dependency.job_id):
            problems.append(Problem("dependency", f"{dependency.kind.value}: there is no job {dependency.job_id}"))
        if dependency.kind is DependencyKind.AFTERCORR:
            if not spec.needs_all_dependencies:
                problems.append(Problem("dependency", "aftercorr cannot be one of several alternatives (`?`); use `,`"))
            if parent is not None and (not parent.is_array or spec.array is None):
                problems.append(Problem("dependency", "aftercorr links two job arrays; use afterok for other jobs"))
    return problems


def _topology_problems(state: State, spec: JobSpec) -> list[Problem]:
    """Whether the domain that it requires exists and could ever hold it, and the one that it prefers exists."""
    domains = state.packing.domains
    if not spec.level or domains is None:
        return []
    where = [domain for domain in domains.at_level(spec.level) if spec.domain in ("", domain.path[-1])]
    if not where:
        known = list(dict.fromkeys(domain.path[-1] for domain in domains.at_level(spec.level)))
        hint = did_you_mean(spec.domain, known)
        return [Problem("topology", f"no {spec.level} named {spec.domain!r}{hint}; there are: {', '.join(known)}")]
    nodes = state.packing.partition_nodes.get(spec.partition, 0)
    most = max((domain.nodes & nodes).bit_count() for domain in where)
    if spec.is_level_required and spec.node_count > most:
        text = (
            f"{spec.node_count} nodes in one {spec.level} are required; partition {spec.partition!r} has {most} at most"
        )
        return [Problem("topology", f"{text}; ask for fewer, or leave out =required")]
    return []


def _has_ended(state: State, job_id: JobId) -> bool:
    return job_id in state.completed_ids or job_id in state.failed_ids


def define_cluster(state: State, message: DefineCluster, now_s: float) -> list[Event]:
    """The configuration as read; no event if nothing changed. Names were checked when it was read."""
    names = {node.name for node in message.cluster.nodes}
    for partition in message.cluster.partitions:
        for node in partition.nodes:
            if node not in names:
                raise NotFound(f"partition {partition.name}: no node named {node!r}{did_you_mean(node, names)}")
    return [] if message.cluster == state.cluster else [ClusterDefined(now_s, message.cluster)]
