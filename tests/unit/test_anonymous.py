"""Inputs that jobs call by a path or URL: what the catalogue makes of them, who sees them, when they are forgotten."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import example, given, strategies as st

from hal_core.errors import Refused, UserError
from hal_core.models.dataset import REFERENCE, Dataset, Measured
from hal_core.models.event import DatasetAdded, DatasetRemoved
from hal_core.models.message import AddDataset, CopiesReported, Submission, Submit, Tick
from hal_core.models.node import NodeName
from hal_core.parsing.datasets import parse_dataset, parse_file_path
from hal_core.rules.anonymous import (
    ANONYMOUS_MAX,
    OWNER_MAX,
    RENEWED_AFTER_S,
    RETENTION_S,
    anonymous,
    file_names,
    shown,
)
from hal_core.rules.catalogue import expired
from hal_core.rules.state import State
from tests.support.core_world import ADA, World, make_cluster, make_spec

URL = "https://host/reads/one%20two.fa"
FOUND = Measured(1000, '"etag"')
READS = anonymous(URL, FOUND, ADA)
INPUT = f"{REFERENCE}{READS.id}"


def a_world() -> World:
    world = World(make_cluster(2)).join()
    world.tell(AddDataset(READS))
    return world


@given(st.text() | st.text("/.%2F\0", min_size=1), st.integers(0, 2**60), st.text())
@example("https://host/", 1, "x")
@example("/data/..", 1, "x")
@example("https://host/%2e%2e%2fx", 1, "x")
def test_whatever_the_address_the_file_stays_within_its_dataset_and_people_have_no_name_for_it(address, size, version):
    made = anonymous(address, Measured(size, version), ADA)
    (file,) = made.files
    parse_file_path(file.path)
    assert "/" not in file.path
    assert "/" not in made.id
    with pytest.raises(UserError):
        parse_dataset(made.id)


@given(
    st.lists(st.builds(Measured, st.integers(1, 3), st.sampled_from("ab"), st.sampled_from(["", "0" * 64])), max_size=4)
)
def test_one_file_has_one_id_and_another_version_another(some):
    made = [anonymous(URL, each, ADA) for each in some]
    assert len({each.id for each in made}) == len(set(some))
    assert len({each.name for each in made}) <= 1
    assert all(bool(each.file_version) is not bool(found.sha256) for each, found in zip(made, some, strict=True))


def test_a_path_has_an_id_for_each_reader_and_its_bytes_are_kept_once():
    readers = [ADA, attrs.evolve(ADA, user="bob", uid=1001), attrs.evolve(ADA, gid=1001)]
    paths = [anonymous("/data/a", FOUND, each) for each in readers]
    assert len({each.id for each in paths}) == len(readers)
    assert [(each.uid, each.gid) for each in paths] == [(each.uid, each.gid) for each in readers]
    assert len({each.files for each in paths}) == 1
    assert len({anonymous("file:///data/a", attrs.evolve(FOUND, place="/data/a"), each).id for each in readers}) == 3
    assert len({anonymous(URL, FOUND, each).id for each in readers}) == 1, "nodes read it as themselves"


def test_what_one_user_names_is_bounded_for_them_alone_and_what_all_name_for_all():
    world = World(make_cluster(1)).join()
    named, bob = world.state.catalogue.anonymous, attrs.evolve(ADA, user="bob", uid=1001)
    named["ada"] = OWNER_MAX  # as if there were so many
    with pytest.raises(Refused, match=f"the jobs of ada named {OWNER_MAX} files"):
        world.tell(AddDataset(READS))
    world.tell(AddDataset(anonymous(URL, FOUND, bob)))
    world.tell(AddDataset(READS))  # it is there
    named["others"] = ANONYMOUS_MAX - OWNER_MAX - 1
    other = anonymous("https://host/b", FOUND, bob)
    with pytest.raises(Refused, match=f"the jobs of all users named {ANONYMOUS_MAX} files"):
        world.tell(AddDataset(other))
    named["others"] -= 1
    world.tell(AddDataset(other))


def test_who_named_it_last_has_it():
    world = a_world()
    world.now_s += RENEWED_AFTER_S
    world.tell(AddDataset(attrs.evolve(READS, owner="bob")))
    assert world.state.catalogue.anonymous == {"bob": 1}


class Looked(Dataset):
    """Notes each look at its time of expiry."""

    count = 0

    @property
    def expiry_time_s(self) -> float:
        Looked.count += 1
        return self.add_time_s + RETENTION_S


def test_those_that_expire_together_are_not_looked_at_again_for_each():
    state, count = State(), 300
    plain = attrs.asdict(READS, recurse=False)
    for number in range(count):
        state.apply(DatasetAdded(0.0, Looked(**{**plain, "name": f"+{number}"})))
    before = Looked.count
    events = expired(state, RETENTION_S)
    assert len(events) == count
    for event in events:
        state.apply(event)
    assert state.catalogue.anonymous_count == 0
    assert Looked.count - before < 30 * count


def test_its_size_counts_and_it_is_brought_like_any_other():
    world = a_world()
    key = world.start(inputs=(INPUT, "here/x"))
    (stage,) = world.staging
    assert [each.id for each in stage.datasets] == [READS.id]
    assert stage.inputs == ("here/x",)
    world.tell(CopiesReported(NodeName("n1"), (READS.id,)))
    tiers = world.state.snapshot(world.now_s).stage_in((INPUT,))
    assert tiers[0].stage_s == 0.0 < tiers[-1].stage_s
    spec = world.job(key.job_id).spec
    assert shown(world.state, spec.inputs) == (URL, "here/x")
    assert file_names(world.state, spec.inputs) == ((INPUT, "one two.fa"),)


def test_it_is_no_dataset_that_people_see():
    world = a_world()
    assert (list(world.state.catalogue.named), world.state.catalogue.named_count) == ([], 0)
    again = State.load(world.state.dump())
    assert (again.catalogue.anonymous_count, again.catalogue.by_id) == (1, world.state.catalogue.by_id)


def test_the_same_submission_is_the_same_job_though_the_file_is_another_one_now():
    world = a_world()
    first = world.tell(Submit((Submission("mine", ADA, make_spec(inputs=(INPUT,))),)))
    newer = anonymous(URL, attrs.evolve(FOUND, version="other"), ADA)
    world.tell(AddDataset(newer))
    later = make_spec(inputs=(f"{REFERENCE}{newer.id}",))
    assert world.tell(Submit((Submission("mine", ADA, later),))) == first
    other = make_spec(inputs=(f"{REFERENCE}{anonymous('https://host/b', FOUND, ADA).id}",))
    with pytest.raises(UserError, match="asks for something else"):
        world.tell(Submit((Submission("mine", ADA, other),)))


def test_a_thousand_jobs_of_one_hour_are_one_event():
    world = a_world()
    before = len(world.events)
    for _ in range(3):
        world.tell(AddDataset(READS))
    assert len(world.events) == before
    world.now_s += RENEWED_AFTER_S
    world.tell(AddDataset(READS))
    assert [type(each) for each in world.events[before:]] == [DatasetAdded]


def test_it_is_forgotten_a_day_after_the_last_job_that_names_it():
    world = a_world()
    job_id = world.submit(inputs=(INPUT,))
    world.now_s += RETENTION_S
    world.tell(Tick())
    assert READS.id in world.state.catalogue.by_id, "a job still needs it"
    assert world.state.catalogue.next_expiry_s > world.now_s
    world.cancel(job_id)
    world.now_s += RETENTION_S
    before = len(world.events)
    world.tell(Tick())
    assert [each.dataset for each in world.events[before:] if isinstance(each, DatasetRemoved)] == [READS.id]
    assert world.state.catalogue.anonymous_count == 0
