"""A job that began with less memory than it asked for: out of memory, it waits again with all of it, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from hal_core.kernel.memory_sizing import MemorySizing
from hal_core.models.component import Component
from hal_core.models.event import Event, JobEnded, JobRequeued, JobSubmitted
from hal_core.models.history import HistoryEntry, HistoryFilters, HistoryPage
from hal_core.models.job import End, EndKind, JobId, JobSpec, JobState, Owner
from hal_core.rules.bad_ends import BadEnds
from hal_core.rules.memory_sizes import KIND_MIN, UNDER_WAY_MAX, UsedMemory, kind_of
from tests.support.core_world import ADA, GIB, OK, World, make_spec
from tests.support.rest_api import serving_api

TOO_LITTLE = End(EndKind.OUT_OF_MEMORY, signal=9, peak_memory_bytes=GIB)
SIZED = {"has_auto_memory": True, "memory_bytes_per_node": 4 * GIB, "first_memory_bytes": GIB}


@pytest.fixture
def world() -> Iterator[World]:
    world = World().join()
    yield world
    world.check_at_end()


def held_bytes(world: World, job_id: JobId) -> int:
    return int(world.activity(job_id).shares[0].memory_bytes)


def test_it_has_the_first_size_and_then_what_it_asked_for(world: World) -> None:
    key = world.start(**SIZED)
    assert held_bytes(world, key.job_id) == GIB
    world.end(key, TOO_LITTLE)
    (requeued,) = world.of(JobRequeued)
    assert (requeued.by, requeued.end.kind) == ("hal", EndKind.OUT_OF_MEMORY)
    world.settle()
    assert held_bytes(world, key.job_id) == 4 * GIB
    assert world.activity(key.job_id).attempt == 2


def test_what_it_asked_for_is_the_end_of_it(world: World) -> None:
    key = world.start(**SIZED)
    world.end(key, TOO_LITTLE)
    world.settle()
    world.end(world.activity(key.job_id).key, TOO_LITTLE)
    assert world.ended(key.job_id).kind is EndKind.OUT_OF_MEMORY
    assert len(world.of(JobRequeued)) == 1


def test_another_end_is_an_end(world: World) -> None:
    key = world.start(**SIZED)
    world.end(key, OK)
    assert world.job(key.job_id).state is JobState.COMPLETED


def test_who_did_not_leave_it_to_hal_is_not_queued_again(world: World) -> None:
    key = world.start(memory_bytes_per_node=GIB)
    world.end(key, TOO_LITTLE)
    assert world.ended(key.job_id).kind is EndKind.OUT_OF_MEMORY


# -- sizing and advice -------------------------------------------------------------------------------------------------

SPEC = make_spec(name="train", memory_bytes_per_node=64 * GIB, walltime_s=600.0)


def entry(number: int, peak_bytes: int) -> HistoryEntry:
    return HistoryEntry(
        sequence=number,
        job_id=JobId(number),
        elements="0",
        attempt=1,
        user="ada",
        name="train",
        partition="all",
        account="",
        state=JobState.COMPLETED,
        kind=EndKind.EXITED,
        exit_code=0,
        signal=None,
        ended_by="",
        detail="",
        submit_time_s=0.0,
        start_time_s=0.0,
        end_time_s=1.0,
        nodes=(),
        node_count=1,
        cpus=1,
        walltime_s=600.0,
        peak_memory_bytes=peak_bytes,
        cpu_s=1.0,
    )


async def sizing_after(world: World, count: int, peak_bytes: int = GIB) -> MemorySizing:
    """With so many ends in the history, in two pages."""
    entries = tuple(entry(number, peak_bytes) for number in range(count))

    def history(filters: HistoryFilters, limit: int, cursor: int | None) -> HistoryPage:
        return HistoryPage(entries[:1], 1) if cursor is None else HistoryPage(entries[1:], None)

    sizing = MemorySizing(lambda: world.core.state, history)
    await sizing.run()
    return sizing


def auto(**fields: object) -> JobSpec:
    return attrs.evolve(SPEC, has_auto_memory=True, **fields)


async def test_the_history_gives_the_first_size(world: World) -> None:
    sizing = await sizing_after(world, KIND_MIN)
    (found,) = sizing.sized(ADA, [auto()])
    assert GIB <= found.first_memory_bytes < 2 * GIB
    assert found.memory_bytes_per_node == 64 * GIB
    assert sizing.sized(ADA, [SPEC]) == [SPEC], "nobody is given less who did not ask for it"
    assert sizing.sized(Owner("bob", 1, 1), [auto()]) == [auto()], "nothing is known of him"


async def test_those_under_way_are_counted_also_within_one_submission(world: World) -> None:
    sizing = await sizing_after(world, KIND_MIN)
    found = sizing.sized(ADA, [auto()] * (UNDER_WAY_MAX + 5))
    assert sum(bool(spec.first_memory_bytes) for spec in found) == UNDER_WAY_MAX
    came: list[Event] = [JobSubmitted(0.0, JobId(at), "", ADA, spec) for at, spec in enumerate(found, 1)]
    await sizing.record(1, came)
    assert sizing.sized(ADA, [auto()]) == [auto()]


async def test_an_end_makes_room_for_another_and_is_learned_from(world: World) -> None:
    key = world.start(name="train", walltime_s=600.0, **SIZED)
    sizing = await sizing_after(world, KIND_MIN)
    before = sizing.sized(ADA, [auto()] * UNDER_WAY_MAX)
    assert not before[-1].first_memory_bytes, "one is under way since before the start"
    ended = JobEnded(0.0, key.job_id, ((0, 1),), 1, attrs.evolve(OK, peak_memory_bytes=9 * GIB), 0.0, 1.0)
    await sizing.record(1, [ended])
    after = sizing.sized(ADA, [auto()] * UNDER_WAY_MAX)
    assert after[-1].first_memory_bytes >= 9 * GIB


async def test_what_a_component_used_says_nothing_of_a_node_of_a_plain_job(world: World) -> None:
    key = world.start(name="train", walltime_s=600.0, components=(Component(1, 1, 1, GIB),))
    spec = world.job(key.job_id).spec
    sizing = await sizing_after(world, 0)
    peak = attrs.evolve(OK, peak_memory_bytes=9 * GIB)
    await sizing.record(1, [JobEnded(0.0, key.job_id, ((0, 1),), 1, peak, 0.0, 1.0)] * 20)
    plain = attrs.evolve(spec, components=(), cpus_per_task=spec.total_cpus, memory_bytes_per_node=64 * GIB)
    assert kind_of(plain) == kind_of(spec)
    assert sizing.unused(ADA, plain) is None


async def test_who_asks_for_much_more_than_was_used_should_know(world: World) -> None:
    sizing = await sizing_after(world, 20)
    assert sizing.unused(ADA, SPEC) == UsedMemory(20, GIB)
    assert not sizing.unused(ADA, attrs.evolve(SPEC, memory_bytes_per_node=2 * GIB - 1)), "some room is fine"
    assert not sizing.unused(Owner("bob", 1, 1), SPEC)
    assert not (await sizing_after(world, 2)).unused(ADA, SPEC), "two runs say little"


@pytest.mark.parametrize(
    ("end", "count", "is_short", "is_failing"),
    [
        (End(EndKind.TIME_LIMIT), 4, False, False),
        (End(EndKind.TIME_LIMIT), 5, True, False),
        (End(EndKind.EXITED, exit_code=3), 6, False, True),
        (End(EndKind.CANCELLED), 20, False, False),
        (OK, 20, False, False),
    ],
)
async def test_whose_jobs_of_a_kind_mostly_end_badly_should_know(
    world: World, end: End, count: int, is_short: bool, is_failing: bool
) -> None:
    key = world.start(name="train7", walltime_s=600.0)
    owner, spec = world.state.jobs[key.job_id].owner, world.state.jobs[key.job_id].spec
    sizing = await sizing_after(world, 0)
    await sizing.record(1, [JobEnded(0.0, key.job_id, ((0, 1),), 1, end, 0.0, 1.0)] * count)
    found = sizing.bad_ends(owner, attrs.evolve(spec, name="train8"))
    assert (found is not None and found.is_time_short, found is not None and found.is_failing) == (is_short, is_failing)
    assert sizing.bad_ends(owner, attrs.evolve(spec, walltime_s=1200.0)) is None, "with more time it is another kind"
    assert sizing.bad_ends(Owner("eve", 1, 1), spec) is None


async def test_one_bad_end_among_good_ones_is_not_told(world: World) -> None:
    ends = await sizing_after(world, 20)
    key = world.start(name="train", walltime_s=600.0, **SIZED)
    await ends.record(1, [JobEnded(0.0, key.job_id, ((0, 1),), 1, End(EndKind.TIME_LIMIT), 0.0, 1.0)])
    assert ends.bad_ends(ADA, SPEC) is None


class Sizing:
    """Gives each job a gibibyte, and knows of twenty that used a bit more than three."""

    def sized(self, owner: Owner, specs: Sequence[JobSpec]) -> list[JobSpec]:
        return [attrs.evolve(spec, first_memory_bytes=GIB) if spec.has_auto_memory else spec for spec in specs]

    def unused(self, owner: Owner, spec: JobSpec) -> UsedMemory | None:
        return None if spec.first_memory_bytes else UsedMemory(20, 3 * GIB + 1)

    def bad_ends(self, owner: Owner, spec: JobSpec) -> BadEnds | None:
        return BadEnds(10, 7, 1) if spec.name == "late" else None


def body(*options: list[str]) -> dict[str, object]:
    return {"client_id": str(options), "command": ["true"], "options": [["mem", "4G"], *options]}


async def test_a_submission_is_sized_or_answered_with_advice(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s", memory=Sizing()) as api:
        plain = (await api.post("/v1/jobs", body())).json()
        text = "your last 20 such jobs used at most 3073M of 4G; with less, or with --auto-memory, the next may"
        assert plain["warnings"] == [{"place": "mem", "text": f"{text} start sooner"}]
        sized = (await api.post("/v1/jobs", body(["auto-memory", ""]))).json()
        assert sized["warnings"] == []
        assert api.kernel.state.jobs[sized["job_id"]].spec.first_memory_bytes == GIB
        bulk = {"jobs": [body(["auto-memory", ""], ["job-name", name]) for name in ("a", "b")]}
        assert (await api.post("/v1/jobs/bulk", bulk)).status == 201
        specs = [record.spec for record in api.kernel.state.jobs.values()]
        assert [spec.first_memory_bytes for spec in specs] == [0, GIB, GIB, GIB]


async def test_whose_jobs_mostly_ran_into_their_limit_is_told_at_the_submission(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s", memory=Sizing()) as api:
        late = (await api.post("/v1/jobs", body(["job-name", "late"]))).json()
    text = "7 of your last 10 such jobs ran into their time limit; ask for more, or let the job save what it has"
    assert late["warnings"][-1] == {"place": "time", "text": f"{text} before that"}
