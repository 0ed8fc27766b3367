"""Shared answers: made once for each moment, never older than the state or a second, never another caller's."""

from __future__ import annotations

from pathlib import Path

import attrs

from hal_core.models.message import DrainNode, Hold, JobSelection
from hal_core.models.node import NodeName
from hal_core.rest.answers import Answer
from hal_core.rest.shared import BYTES_MAX, KEPT_S, SharedAnswers
from hal_core.rules.core import Core
from hal_core.testing.fakes import FakeEngine
from tests.support.rest_api import OPERATOR, context_of, serving_api
from tests.support.rest_kernel import RestKernel


@attrs.define
class Clock:
    now_s: float = 50.0


@attrs.define
class Maker:
    """Answers with a number that grows."""

    size: int = 1
    count: int = 0

    async def __call__(self) -> Answer:
        self.count += 1
        return Answer(b"%d" % self.count * self.size)


async def test_an_answer_is_made_once_until_something_happens_or_a_second_has_passed() -> None:
    kernel, clock, make = RestKernel(), Clock(), Maker()
    shared = SharedAnswers(context_of(kernel, monotonic_s=lambda: clock.now_s))
    bodies = [(await shared.of("q", make)).body for _ in range(3)]
    assert bodies == [b"1"] * 3
    assert (await shared.of("another", make)).body == b"2"
    await kernel.ask(DrainNode(NodeName("n1"), "admin", "disk"))
    assert (await shared.of("q", make)).body == b"3"
    clock.now_s += KEPT_S
    assert (await shared.of("q", make)).body == b"4"


async def test_another_state_at_the_same_sequence_is_another_moment() -> None:
    kernel, make = RestKernel(), Maker()
    shared = SharedAnswers(context_of(kernel, monotonic_s=lambda: 1.0))
    await shared.of("q", make)
    rebuilt = RestKernel().core
    assert rebuilt.state.sequence == kernel.state.sequence
    kernel.core = Core(FakeEngine(), "fake", rebuilt.state)
    assert (await shared.of("q", make)).body == b"2"


async def test_what_was_made_while_something_happened_is_not_kept() -> None:
    kernel, make = RestKernel(), Maker()
    shared = SharedAnswers(context_of(kernel, monotonic_s=lambda: 1.0))

    async def make_slowly() -> Answer:
        await kernel.ask(DrainNode(NodeName("n1"), "admin", "disk"))
        return await make()

    assert (await shared.of("q", make_slowly)).body == b"1"
    assert (await shared.of("q", make)).body == b"2"


async def test_a_bound_on_what_is_kept() -> None:
    make = Maker(size=BYTES_MAX // 2)
    shared = SharedAnswers(context_of(RestKernel(), monotonic_s=lambda: 1.0))
    for number in range(3):
        await shared.of(number, make)
    assert make.count == 3
    await shared.of(1, make)
    assert make.count == 3
    await shared.of(2, make)
    assert make.count == 4


async def test_a_page_shows_what_its_reader_has_just_done(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s", monotonic_s=lambda: 1.0) as api:
        for count in range(1, 4):
            job_id = await api.submit(uid=OPERATOR)
            jobs = (await api.get("/v1/jobs")).json()["jobs"]
            assert {job["job_id"] for job in jobs} == set(range(1, count + 1))
            await api.kernel.ask(Hold(JobSelection(job_id), "ada"))
            assert sum(job["is_held"] for job in (await api.get("/v1/jobs")).json()["jobs"]) == count


async def test_each_query_has_a_page_of_its_own(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s", monotonic_s=lambda: 1.0) as api:
        await api.submit(options=[["job-name", "one"]])
        await api.submit(options=[["job-name", "two"]])
        for name in ("one", "two"):
            jobs = (await api.get(f"/v1/jobs?name={name}")).json()["jobs"]
            assert [job["name"] for job in jobs] == [name]
        assert len((await api.get("/v1/jobs")).json()["jobs"]) == 2
