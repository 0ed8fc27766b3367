"""Jobs that name datasets: what they mean when they are submitted, what is ordered for them, and what nodes report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from hal_core.errors import InvalidInput, NotFound, Refused, Unavailable
from hal_core.kernel.effects import Effects
from hal_core.models.dataset import Brought, DataFile, Dataset, DatasetId
from hal_core.models.effect import Keep, KeepOrder, Stage
from hal_core.models.job import EndKind
from hal_core.models.message import (
    AddDataset,
    CopiesReported,
    EvictCopies,
    Message,
    PinDataset,
    RemoveDataset,
    StagingDone,
    StagingFailed,
    Submission,
    Submit,
)
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey
from hal_core.rules.effects import effects_of
from hal_core.rules.state import State
from hal_core.testing import FakeExecutor
from hal_core.testing.fake_executor import succeeds_at_once
from tests.support.core_world import ADA, World, make_cluster, make_spec

N0, N1 = NodeName("n0"), NodeName("n1")
GENOME = Dataset("genome", "1", (DataFile("a", 5, "a" * 64),), ("/data/genome",), "ada", 1000, 1000)
SECOND = attrs.evolve(GENOME, version="2")
ONE = DatasetId("genome@1")


def a_world(*datasets: Dataset) -> World:
    world = World(make_cluster(2)).join()
    for each in datasets:
        world.tell(AddDataset(each))
    return world


def effects_since(world: World, count: int) -> list[object]:
    return [effect for event in world.events[count:] for effect in effects_of(world.state, event)]


def test_a_name_means_the_version_of_the_moment():
    world = a_world(GENOME)
    job_id = world.submit(inputs=("dataset:genome", "dataset:genome@1", "here/x"))
    world.tell(AddDataset(SECOND))
    assert world.job(job_id).spec.inputs == ("dataset:genome@1", "here/x")


def test_a_dataset_that_is_not_there_is_refused_at_submission():
    with pytest.raises(InvalidInput, match=r"inputs: there is no dataset 'genom' \(did you mean 'genome'"):
        a_world(GENOME).submit(inputs=("dataset:genom",))


def test_the_same_submission_is_the_same_job_though_there_is_a_newer_version():
    world = a_world(GENOME)
    request = Submit((Submission("mine", ADA, make_spec(inputs=("dataset:genome",))),))
    first = world.tell(request)
    world.tell(AddDataset(SECOND))
    assert world.tell(request) == first


def test_what_is_staged_is_what_the_catalogue_says():
    world = a_world(GENOME)
    key = world.start(inputs=("dataset:genome", "here/x"))
    (stage,) = world.staging
    assert stage == Stage(key, ("here/x",), "/", (N0,), (GENOME_AS_KEPT(world),))


def GENOME_AS_KEPT(world: World) -> Dataset:
    return world.state.catalogue.by_id[ONE]


def test_a_dataset_that_was_removed_meanwhile_is_named():
    world = a_world(GENOME)
    world.submit(inputs=("dataset:genome",))
    world.tell(RemoveDataset("genome", "ada"))
    world.plan()
    (stage,) = world.staging
    assert (stage.datasets, stage.unknown) == ((), ("dataset:genome@1",))


def test_nodes_say_what_they_have_and_only_changes_are_events():
    world = a_world(GENOME)
    world.tell(CopiesReported(N1, (ONE, DatasetId("old@1"))))
    before = len(world.events)
    world.tell(CopiesReported(N1, (DatasetId("old@1"), ONE)))
    world.tell(CopiesReported(NodeName("stranger"), (ONE,)))
    assert len(world.events) == before
    assert world.state.catalogue.copies == {ONE: {N1}, DatasetId("old@1"): {N1}}
    assert State.load(world.state.dump()).catalogue.copies == world.state.catalogue.copies
    world.tell(CopiesReported(N1, (ONE,)))
    assert world.state.catalogue.copies == {ONE: {N1}}


def test_nodes_with_a_copy_are_told_what_becomes_of_it():
    world = a_world(GENOME)
    world.tell(CopiesReported(N1, (ONE,)))
    for message, order in (
        (PinDataset("genome", True, "ada"), KeepOrder(pinned=(ONE,))),
        (PinDataset("genome", False, "ada"), KeepOrder(unpinned=(ONE,))),
        (EvictCopies("genome", (), "ada"), KeepOrder(dropped=(ONE,))),
        (RemoveDataset("genome", "ada"), KeepOrder(dropped=(ONE,))),
    ):
        before = len(world.events)
        world.tell(message)
        assert effects_since(world, before) == [Keep(N1, order)]


def test_a_node_that_comes_back_is_told_again():
    world = a_world(GENOME)
    world.tell(CopiesReported(N0, (ONE, DatasetId("old@1"))))
    key = world.start(inputs=("dataset:genome",))
    world.staging.clear()
    before = len(world.events)
    world.join()
    told = effects_since(world, before)
    assert Keep(N0, KeepOrder(unpinned=(ONE,), dropped=(DatasetId("old@1"),))) in told
    assert [each.key for each in world.staging] == [key], "what was being brought is ordered again"


def test_evicting_says_what_it_cannot():
    world = a_world(GENOME)
    assert world.tell(EvictCopies("genome", (), "ada")) == 0
    with pytest.raises(NotFound, match="no node named 'n7'"):
        world.tell(EvictCopies("genome", (NodeName("n7"),), "ada"))
    world.tell(PinDataset("genome", True, "ada"))
    with pytest.raises(Refused, match="unpin genome@1"):
        world.tell(EvictCopies("genome", (), "ada"))


# -- in the kernel -----------------------------------------------------------------------------------------------------


class StoringExecutor(FakeExecutor):
    """Its nodes answer what the test says."""

    def __init__(self, answers: dict[NodeName, Brought | Exception]) -> None:
        super().__init__([], succeeds_at_once)
        self.answers = answers
        self.kept: list[tuple[NodeName, KeepOrder]] = []

    async def bring(self, node: NodeName, key: AttemptKey, datasets: Sequence[Dataset]) -> Brought:
        await trio.lowlevel.checkpoint()
        answer = self.answers[node]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def keep(self, node: NodeName, order: KeepOrder) -> None:
        self.kept.append((node, order))


async def reported(executor: FakeExecutor, stage: Stage) -> list[Message]:
    """What the kernel hears of it, until nothing happens any more."""
    heard: list[Message] = []

    async def report(message: Message) -> None:
        heard.append(message)

    effects = Effects({"metal": executor}, lambda _: "metal", {})
    async with trio.open_nursery() as nursery:
        await nursery.start(effects.run, 1, report)
        effects.start([stage, Keep(N0, KeepOrder(dropped=(ONE,)))])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return heard


KEY = AttemptKey(1, 0, 1)  # type: ignore[arg-type]
STAGE = Stage(KEY, (), "/", (N0, N1), (GENOME,))


async def test_what_came_to_all_nodes_is_added_up():
    executor = StoringExecutor({N0: Brought(5, 0, 2, 0.5), N1: Brought(3, 5, 0, 1.5)})
    assert await reported(executor, STAGE) == [StagingDone(KEY, 8, 5, 6, 2.0)]
    assert executor.kept == [(N0, KeepOrder(dropped=(ONE,)))]


async def test_what_one_node_cannot_bring_is_told():
    executor = StoringExecutor({N0: Refused("it is corrupted"), N1: Brought(5, 0)})
    assert await reported(executor, STAGE) == [StagingFailed(KEY, "it is corrupted")]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (OSError("bug"), "executor metal failed to bring data: OSError('bug')"),
        (None, "what `bring` returned is None, not a Brought"),
        (Brought(bytes_moved=-1), "`bring` returned Brought(bytes_moved=-1"),
        (Brought(1, bytes_lent=2), "`bring` returned Brought(bytes_moved=1, bytes_saved=0, bytes_lent=2"),
        (Brought(read_s=math.nan), "what `bring` returned.read_s is nan, not a finite number"),
    ],
)
async def test_a_store_that_fails_or_answers_garbage_is_named(answer: Any, told: str):
    (failed,) = await reported(StoringExecutor({N0: answer, N1: Brought(5, 0)}), STAGE)
    assert isinstance(failed, StagingFailed)
    assert failed.detail.startswith(told)


async def test_nothing_is_said_of_a_node_out_of_contact():
    assert await reported(StoringExecutor({N0: Unavailable("gone"), N1: Brought(5, 0)}), STAGE) == []


async def test_executors_without_stores_and_datasets_without_entry_are_named():
    (failed,) = await reported(FakeExecutor([], succeeds_at_once), STAGE)
    assert isinstance(failed, StagingFailed)
    assert "nodes of executor metal have no store" in failed.detail
    gone = attrs.evolve(STAGE, datasets=(), unknown=("dataset:genome@1",))
    (failed,) = await reported(StoringExecutor({}), gone)
    assert isinstance(failed, StagingFailed)
    assert "not in the catalogue any more: dataset:genome@1" in failed.detail


def test_staging_that_fails_is_the_end_of_the_job_with_its_reason():
    world = a_world(GENOME)
    key = world.start(inputs=("dataset:genome",))
    world.staged(key, failure="input genome@1: a could not be brought")
    assert world.ended(key.job_id).kind is EndKind.STAGING_FAILED
