"""A node's store fed by a web server: what it breaks off, spoils or replaces never reaches a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from hal_core.agent.reading import reader_of
from hal_core.agent.store import Store
from hal_core.errors import UserError
from hal_core.models.dataset import DataFile, Dataset
from hal_locality_http.provider import HttpLocality
from tests.support.file_server import FileServer

CONTENT = bytes(range(256)) * 12_000
PATH = "chromosomes/one two.fa"
URL_PATH = "/genome/chromosomes/one%20two.fa"


@pytest.fixture(name="server")
def running_server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


@pytest.fixture(name="make_store")
def makes_stores(server, tmp_path):
    provider = HttpLocality.from_options({"url_prefixes": [server.url], "timeout_s": 20.0})
    return lambda: Store(tmp_path / "store", 10**9, reader_of({"http": provider}))


def genome(*replicas: str) -> Dataset:
    return Dataset("genome", "1", (DataFile(PATH, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),), replicas)


async def test_what_was_broken_off_is_gone_on_with(server, make_store):
    server.put(URL_PATH, CONTENT, headers={"ETag": '"1"'}, sends=2_000_000, failing=[503])
    dataset = genome(f"{server.url}/genome")
    store = make_store()
    await store.bring("1.0.1", [dataset])
    assert (store.path_of(dataset.id) / PATH).read_bytes() == CONTENT
    ranges = [asked for method, _, asked in server.asked if method == "GET" and asked]
    assert ranges, "it was read from the beginning each time"


async def test_a_spoilt_replica_is_left_for_a_sound_one(server, make_store):
    server.put(f"/spoilt{URL_PATH}", CONTENT[:-1] + b"x")
    server.put(URL_PATH, CONTENT)
    dataset = genome(f"{server.url}/spoilt/genome", f"{server.url}/genome")
    store = make_store()
    await store.bring("1.0.1", [dataset])
    assert (store.path_of(dataset.id) / PATH).read_bytes() == CONTENT


async def test_a_file_that_is_another_one_now_is_refused_by_name(server, make_store):
    server.put(URL_PATH, CONTENT[::-1])
    dataset = genome(f"{server.url}/genome")
    store = make_store()
    with pytest.raises(UserError, match="genome"):
        await store.bring("1.0.1", [dataset])
    assert not store.path_of(dataset.id).exists()
    server.put(URL_PATH, CONTENT)
    await store.bring("2.0.1", [dataset])
    assert (store.path_of(dataset.id) / PATH).read_bytes() == CONTENT
