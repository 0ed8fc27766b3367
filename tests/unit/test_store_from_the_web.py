"""A node's store fed by a web server: what it breaks off, spoils or replaces never reaches a job."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from hal_core.agent.reading import reader_of
from hal_core.agent.store import Store
from hal_core.errors import UserError
from hal_core.models.dataset import DataFile, Dataset, Measured, file_version
from hal_core.models.job import Owner
from hal_core.rules.anonymous import anonymous
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
    return lambda source=provider: Store(tmp_path / "store", 10**9, reader_of({"http": source}))


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


# -- files without a digest --------------------------------------------------------------------------------------------

ADA = Owner("ada", os.getuid(), os.getgid())


async def called_by(url: str, server: FileServer) -> Dataset:
    provider = HttpLocality.from_options({"url_prefixes": [server.url]})
    (measured,) = await provider.measure([url])
    assert isinstance(measured, Measured)
    return anonymous(url, measured, ADA)


async def test_a_file_without_a_digest_is_brought_if_it_is_what_was_meant(server, make_store):
    url = server.put(URL_PATH, CONTENT, headers={"ETag": '"1"'})
    dataset = await called_by(url, server)
    store = make_store()
    await store.bring("1.0.1", [dataset])
    assert (store.path_of(dataset.id) / "one two.fa").read_bytes() == CONTENT
    assert make_store().inventory == (dataset.id,)


async def test_another_version_is_refused_and_nothing_of_two_is_mixed(server, make_store):
    url = server.put(URL_PATH, CONTENT, headers={"ETag": '"1"'})
    dataset = await called_by(url, server)
    server.put(URL_PATH, CONTENT, headers={"ETag": '"1"'}, sends=2_000_000)
    store = make_store()
    with pytest.raises(UserError, match="no whole answer"):
        await store.bring("1.0.1", [dataset])
    assert not list((store.directory / "partial").iterdir()), "what is left of one reading could be taken for another's"
    server.put(URL_PATH, CONTENT[::-1], headers={"ETag": '"2"'})
    with pytest.raises(UserError, match="it has changed since the job was submitted"):
        await store.bring("2.0.1", [dataset])
    assert not store.path_of(dataset.id).exists()


async def test_what_others_may_read_of_a_failure_has_no_address_of_a_private_input(server, make_store, tmp_path):
    url = server.put("/secret/genome%20of%20ada", CONTENT, headers={"ETag": '"1"'})
    remote = await called_by(url, server)
    local = anonymous(str(tmp_path / "secret of ada"), Measured(5, "1"), ADA)
    server.put("/secret/genome%20of%20ada", b"", failing=[404] * 100)
    for dataset in (remote, local):
        with pytest.raises(UserError) as caught:
            await make_store().bring("1.0.1", [dataset])
        assert dataset.id in str(caught.value)
        assert "its address" in str(caught.value)
        assert "secret" not in str(caught.value), str(caught.value)
        assert "of ada" not in str(caught.value), str(caught.value)


async def test_a_version_that_changes_while_it_is_read_reaches_no_job(server, make_store):
    url = server.put(URL_PATH, CONTENT, headers={"ETag": '"1"'})
    dataset = await called_by(url, server)
    provider = HttpLocality.from_options({"url_prefixes": [server.url]})

    class Changing:
        """Puts another file there when the first piece has come."""

        recognises = staticmethod(provider.recognises)
        measure = staticmethod(provider.measure)

        @asynccontextmanager
        async def reading(self, address: str, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
            async with provider.reading(address, offset) as pieces:
                server.put(URL_PATH, CONTENT[::-1], headers={"ETag": '"2"'})
                yield pieces

    store = make_store(Changing())
    with pytest.raises(UserError, match="it has changed since the job was submitted"):
        await store.bring("1.0.1", [dataset])
    assert not store.path_of(dataset.id).exists()


async def test_a_digest_that_the_server_tells_is_checked_and_nothing_else(server, make_store):
    told = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    url = server.put(URL_PATH, CONTENT, headers={"Repr-Digest": f"sha-256=:{told}:"})
    dataset = await called_by(url, server)
    assert (dataset.files[0].sha256, dataset.file_version) == (hashlib.sha256(CONTENT).hexdigest(), "")
    server.put(URL_PATH, CONTENT[::-1])
    with pytest.raises(UserError, match="corrupted"):
        await make_store().bring("1.0.1", [dataset])


async def test_a_path_without_a_digest_is_read_if_it_has_not_changed(make_store, tmp_path):
    path = tmp_path / "reads"
    path.write_bytes(b"first")
    measured = Measured(5, file_version(5, path.stat().st_mtime_ns))
    dataset = anonymous(str(path), measured, ADA)
    store = make_store()
    await store.bring("1.0.1", [dataset])
    assert (store.path_of(dataset.id) / "reads").read_bytes() == b"first"
    store.release("1.0.1")
    assert store.drop(dataset.id)
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match="its address: it has changed since"):
        await store.bring("2.0.1", [dataset])
