"""The catalogue: what is taken in, what is refused, what people see of it; and that a dump of it is the whole of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given, strategies as st

from hal_core.config.reading import parse_configuration
from hal_core.errors import Conflict, InvalidInput, NotFound, Refused
from hal_core.models.dataset import DataFile, Dataset, address_of
from hal_core.models.message import AddDataset, PinDataset, RemoveDataset, Tick
from hal_core.parsing.datasets import parse_file_path, parse_replica, problems_of
from hal_core.rules.state import State
from tests.support.core_world import World, make_cluster
from tests.support.rest_api import BOB, serving_api

FILE = DataFile("reads/1", 5, "a" * 64)
GENOME = Dataset("genome", "1", (FILE,), ("/data/genome",), "ada", 1000, 1000)
SITE = attrs.evolve(GENOME, name="site", owner="", uid=None, gid=None)


def a_world(*datasets: Dataset) -> World:
    world = World(attrs.evolve(make_cluster(1), datasets=(SITE,)))
    for each in datasets:
        world.tell(AddDataset(each))
    return world


def test_a_name_means_the_version_that_was_added_last():
    world = a_world(GENOME, attrs.evolve(GENOME, version="0.9"))
    catalogue = world.state.catalogue
    assert catalogue.demand("genome").version == "0.9"
    assert catalogue.demand("genome@1").version == "1"
    world.tell(RemoveDataset("genome", "ada"))
    assert catalogue.demand("genome").version == "1"
    world.tell(RemoveDataset("genome", "ada"))
    with pytest.raises(NotFound, match="there is no dataset 'genome'"):
        catalogue.demand("genome")


def test_what_is_there_does_not_change():
    world = a_world(GENOME)
    before = len(world.events)
    world.tell(AddDataset(GENOME))
    assert len(world.events) == before, "the same again is nothing new"
    with pytest.raises(Conflict, match="give another version"):
        world.tell(AddDataset(attrs.evolve(GENOME, files=(attrs.evolve(FILE, size_bytes=6),))))
    with pytest.raises(Conflict, match="'genome' is used by ada"):
        world.tell(AddDataset(attrs.evolve(GENOME, version="2", owner="bob", uid=1001)))
    with pytest.raises(Conflict, match="'site' is used by the configuration"):
        world.tell(AddDataset(attrs.evolve(GENOME, name="site", version="2")))


def test_a_name_that_is_not_there_is_told_with_what_is():
    catalogue = a_world(GENOME).state.catalogue
    with pytest.raises(NotFound, match="did you mean 'genome'"):
        catalogue.demand("genom")
    with pytest.raises(NotFound, match="has no version '7'; it has: 1"):
        catalogue.demand("genome@7")


def test_what_is_pinned_or_stands_in_the_configuration_is_not_removed():
    world = a_world(GENOME)
    world.tell(PinDataset("genome", True, "ada"))
    with pytest.raises(Refused, match="unpin genome@1"):
        world.tell(RemoveDataset("genome", "ada"))
    for message in (RemoveDataset("site", "root"), PinDataset("site", True, "root")):
        with pytest.raises(Refused, match="stands in the configuration"):
            world.tell(message)
    world.tell(PinDataset("genome", False, "ada"))
    world.tell(RemoveDataset("genome", "ada"))
    assert list(world.state.catalogue.by_id) == ["site@1"]


def test_after_its_retention_it_is_gone_unless_it_is_pinned():
    world = a_world(attrs.evolve(GENOME, retention_s=60.0), attrs.evolve(GENOME, name="kept", retention_s=50.0))
    world.tell(PinDataset("kept", True, "ada"))
    world.plan()
    assert world.core.next_wake_s() == world.now_s + 60.0
    world.now_s += 60.0
    world.tell(Tick())
    assert list(world.state.catalogue.by_id) == ["site@1", "kept@1"]
    world.plan()
    assert world.core.next_wake_s() is None
    world.tell(PinDataset("kept", False, "ada"))
    world.tell(Tick())
    assert list(world.state.catalogue.by_id) == ["site@1"]


words = st.sampled_from(["a", "b", "site"])
actions = st.lists(
    st.tuples(st.sampled_from(["add", "pin", "unpin", "remove", "tick"]), words, st.sampled_from(["1", "2"])),
    max_size=30,
)


@given(actions)
def test_whatever_is_asked_a_dump_and_a_replay_give_the_same_catalogue(steps):
    world = a_world()
    for at, (verb, name, version) in enumerate(steps):
        dataset_id = f"{name}@{version}"
        wanted = attrs.evolve(GENOME, name=name, version=version, retention_s=5.0 if at % 3 == 0 else None)
        message = {
            "add": AddDataset(wanted),
            "pin": PinDataset(dataset_id, True, "ada"),
            "unpin": PinDataset(dataset_id, False, "ada"),
            "remove": RemoveDataset(dataset_id, "ada"),
            "tick": Tick(),
        }[verb]
        world.now_s += 1.0
        try:
            world.tell(message)
        except (Conflict, NotFound, Refused):
            continue
    state = world.state
    replayed = State()
    for event in world.events:
        replayed.apply(event)
    for other in (State.load(state.dump()), replayed):
        assert list(other.catalogue.by_id.items()) == list(state.catalogue.by_id.items())
        assert [other.catalogue.find(name) for name in ("a", "b", "site")] == [
            state.catalogue.find(name) for name in ("a", "b", "site")
        ]
        assert other.catalogue.next_expiry_s == state.catalogue.next_expiry_s


# -- what people may write ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\0b", "a\nb"])
def test_a_file_cannot_lead_out_of_its_dataset(path):
    with pytest.raises(InvalidInput):
        parse_file_path(path)


@pytest.mark.parametrize("place", ["data/genome", "genome", "http:/x", "https://h/x?a=1", "https://h/x#y", ""])
def test_a_replica_is_a_directory_or_an_address(place):
    with pytest.raises(InvalidInput):
        parse_replica(place)


def test_where_a_file_is():
    assert address_of("/data/genome", "a b") == "/data/genome/a b"
    assert address_of("https://h/genome/", "a b/c") == "https://h/genome/a%20b/c"


@pytest.mark.parametrize(
    ("paths", "replicas", "words"),
    [
        ([], ["/d"], "at least one file"),
        (["a"], [], "at least one replica"),
        (["a", "b", "a"], ["/d"], "'a' is named twice"),
        (["a/b", "a"], ["/d"], "'a' is a file, and the directory of 'a/b'"),
    ],
)
def test_what_is_no_dataset_is_told(paths, replicas, words):
    assert words in "\n".join(problems_of(paths, replicas))


def test_the_configuration_names_datasets():
    text = f"""
nodes: [{{names: n1, cpus: 1, memory: 1G}}]
partitions: [{{name: main}}]
data:
  datasets:
    - name: genome
      version: "3"
      files: [{{path: reads/1, size: 5, sha256: {"a" * 64}}}]
      replicas: [/data/genome, "https://h/genome"]
      pinned: true
"""
    (found,) = parse_configuration(text, "hal.yaml").cluster.datasets
    files = (DataFile("reads/1", 5, "a" * 64),)
    assert found == Dataset("genome", "3", files, ("/data/genome", "https://h/genome"), is_pinned=True)
    with pytest.raises(InvalidInput, match="is not a SHA-256 digest"):
        parse_configuration(text.replace("a" * 64, "abc"), "hal.yaml")
    with pytest.raises(InvalidInput, match="at least one file"):
        parse_configuration(text.replace("files: [{", "files: [] #"), "hal.yaml")


# -- over REST ---------------------------------------------------------------------------------------------------------

BODY = {"name": "genome", "replicas": ["/data"], "files": [{"path": "a", "size_bytes": 1, "sha256": "b" * 64}]}


async def test_a_dataset_is_added_shown_and_removed(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        made = await api.post("/v1/datasets", BODY | {"version": "2.1+x", "retention": "30d"})
        assert made.status == 201
        assert made.json()["id"] == "genome@2.1+x"
        assert made.json()["owner"] == "ada"
        shown = (await api.get("/v1/datasets/genome@2.1+x", uid=BOB)).json()
        assert shown["files"] == BODY["files"]
        assert shown["dataset"]["retention_s"] == 30 * 86_400.0
        page = (await api.get("/v1/datasets?limit=1")).json()
        assert [each["id"] for each in page["datasets"]] == ["genome@2.1+x"]
        assert page["next_cursor"] is None
        assert (await api.post("/v1/datasets/genome/remove", {}, uid=BOB)).kind == "forbidden"
        assert (await api.post("/v1/datasets/genome/remove", {})).json() == {"id": "genome@2.1+x"}
        assert (await api.get("/v1/datasets/genome")).status == 404


async def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    wrong = {
        "name": "a@b",
        "version": "",
        "retention": "soon",
        "replicas": ["data"],
        "files": [{"path": "../x", "size_bytes": 1, "sha256": "no"}],
    }
    async with serving_api(tmp_path / "s") as api:
        answer = await api.post("/v1/datasets", wrong)
        assert answer.status == 422, answer.body
        places = [each["place"] for each in json.loads(answer.body)["error"]["problems"]]
        assert places == ["name", "version", "files[0].path", "files[0].sha256", "replicas[0]", "retention"]


# -- from the command line ---------------------------------------------------------------------------------------------


def test_hal_data_reads_the_files_and_tells_their_digests(tmp_path: Path) -> None:
    from hal_core.cli.console import Console
    from hal_core.cli.data import measured

    (tmp_path / "reads").mkdir()
    (tmp_path / "reads" / "1").write_bytes(b"acgt")
    (tmp_path / "index").write_bytes(b"")
    directory, files = measured(Console({}), str(tmp_path))
    assert directory == str(tmp_path)
    assert files == [
        {"path": "index", "size_bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()},
        {"path": "reads/1", "size_bytes": 4, "sha256": hashlib.sha256(b"acgt").hexdigest()},
    ]
    assert measured(Console({}), str(tmp_path / "index")) == (directory, files[:1])
