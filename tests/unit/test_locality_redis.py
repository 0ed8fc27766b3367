"""Redis locality, against real servers: the contract, and inventories that follow what happens in a cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import redis
import trio
from hypothesis import given, settings, strategies as st

from hal_core import InvalidInput, NodeName, NotFound, Refused, Replica, Unavailable
from hal_core.testing import LocalityTrial, check_locality, check_locality_broken_off
from hal_locality_redis.cache import glob_of
from hal_locality_redis.provider import RedisLocality
from tests.support.needs import need
from tests.support.redis_server import RedisServer, why_impossible

N1, N2 = NodeName("n1"), NodeName("n2")
CONTENT = bytes(range(256)) * 9000


@pytest.fixture(name="server", scope="module")
def running_server(tmp_path_factory) -> Iterator[RedisServer]:
    need(why_impossible())
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(name="cache")
def filled_cache(server) -> Iterator[redis.Redis]:
    with redis.Redis("127.0.0.1", server.port) as client:
        client.flushall()
        yield client


@pytest.fixture(name="make")
def makes_providers(server) -> Iterator[partial[RedisLocality]]:
    made = []

    def make(*servers, **options):
        given = {"servers": list(servers) or [{"address": server.address}], **options}
        made.append(RedisLocality.from_options(given))
        return made[-1]

    yield make
    for provider in made:
        provider.close()


async def until_found(provider, dataset, paths):
    """Wait for a fact of the inventory: it follows in a thread of its own."""
    found = None
    with trio.move_on_after(60):
        while found != paths:
            (replicas,) = await provider.locate([dataset])
            found = [(each.path, each.size_bytes) for each in replicas]
            await trio.sleep(0.01)
    assert found == paths


async def read(provider, address, offset=0):
    async with provider.reading(address, offset) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_it_keeps_the_contract(cache, make):
    cache.set("data:a b*[?]%", CONTENT)
    trial = LocalityTrial("redis:///data:a%20b*[?]%25", "redis:///data:absent", content=CONTENT)
    await check_locality(make, trial)
    await check_locality_broken_off(make, trial)


async def test_the_inventory_follows_what_happens(server, cache, make):
    provider = make(key_prefix="data:", rescan_s=1e6)
    where = f"redis://{server.address}/data:x"
    await until_found(provider, "redis:///data:x", [])
    cache.set("data:x", b"12345")
    await until_found(provider, "redis:///data:x", [(where, 5)])
    cache.append("data:x", b"67")
    await until_found(provider, "redis:///data:x", [(where, 7)])
    cache.rename("data:x", "data:y")
    await until_found(provider, "redis:///data:x", [])
    await until_found(provider, "redis:///data:y", [(where[:-1] + "y", 7)])
    cache.pexpire("data:y", 1)
    await until_found(provider, "redis:///data:y", [])
    cache.rpush("data:x", b"a list is no file")
    cache.set("data:z", b"")
    await until_found(provider, "redis:///data:z", [(where[:-1] + "z", 0)])
    assert await provider.locate(["redis:///data:x"]) == [[]]
    cache.delete("data:z")
    await until_found(provider, "redis:///data:z", [])


async def test_what_was_there_before_is_found_and_what_makes_no_event_at_the_next_scan(server, cache, make):
    with cache.pipeline() as pipe:
        for number in range(3000):
            pipe.set(f"data:{number}", b"x" * number)
        pipe.execute()
    provider = make(rescan_s=0.05)
    names = [f"redis:///data:{number}" for number in range(3000)]
    found = await provider.locate(names)
    assert [each.size_bytes for (each,) in found] == list(range(3000))
    cache.flushall()
    await until_found(provider, names[7], [])


async def test_a_cache_that_went_away_has_nothing_until_it_is_back(tmp_path, make):
    server = RedisServer(tmp_path)
    where = f"redis://{server.address}/a"
    provider = make({"address": server.address}, timeout_s=5.0)
    assert await provider.locate([where]) == [[]]
    with pytest.raises(Unavailable, match=f"input '{where}': the cache {server.address}"):
        await provider.stage(where, [N1])
    with pytest.raises(OSError, match="the cache"):
        await read(provider, where)
    for content in (b"first", b"second"):
        with server:
            with redis.Redis("127.0.0.1", server.port) as client:
                client.set("a", content)
            await until_found(provider, where, [(where, len(content))])
            assert await read(provider, where) == content
        await until_found(provider, where, [])


async def test_several_caches(tmp_path, server, cache, make):
    with RedisServer(tmp_path) as other, redis.Redis("127.0.0.1", other.port) as client:
        client.set("both", b"12")
        client.set("one", b"1")
        cache.set("both", b"12")
        provider = make({"address": server.address, "node": "n1"}, {"address": other.address, "node": "n2"})
        here, there = (f"redis://{each.address}/both" for each in (server, other))
        found = (await provider.locate(["redis:///both"]))[0]
        assert found == [Replica("redis:///both", here, 2), Replica("redis:///both", there, 2)]
        assert provider.cost(found[0], N1)[0] < provider.cost(found[0], N2)[0]
        assert provider.cost(found[1], N2)[0] < provider.cost(found[1], N1)[0]
        assert await read(provider, "redis:///one") == b"1"
        with pytest.raises(NotFound, match="there is no 'redis:///none' in"):
            await read(provider, "redis:///none")
    with pytest.raises(OSError, match=f"the cache {other.address}"):  # It might have it.
        await read(provider, "redis:///one")
    assert await read(provider, "redis:///both") == b"12"


async def test_a_value_that_changes_its_size_is_not_mixed(cache, make):
    cache.set("a", CONTENT)
    provider = make()

    async def read_while_it_changes():
        async with provider.reading("redis:///a", 0) as pieces:
            async for _ in pieces:
                cache.set("a", CONTENT + b"x")

    with pytest.raises(Refused, match="'redis:///a' changed while it was being read"):
        await read_while_it_changes()
    cache.rpush("list", b"1")
    with pytest.raises(Refused, match=r"'list' in .* WRONGTYPE"):
        await read(provider, "redis:///list")
    with pytest.raises(Refused, match="belongs to others"):
        await provider.evict("redis:///a", N1)


async def test_passwords(tmp_path, make):
    (tmp_path / "secret").write_text("open sesame\n")
    (tmp_path / "secret").chmod(0o600)
    with RedisServer(tmp_path, "KA", "--requirepass", "open sesame") as server:
        provider = make({"address": server.address}, password={"file": str(tmp_path / "secret")})
        with pytest.raises(NotFound):
            await provider.stage("redis:///a", [N1])
        for how in ({}, {"password": {"command": ["echo", "wrong"]}}):
            with pytest.raises(Refused, match="does not let us in") as caught:
                await make({"address": server.address}, **how).stage("redis:///a", [N1])
            assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [
        ("redis:///data:a", True),
        ("redis://cache:6379/data:a", True),
        ("redis://other:6379/data:a", False),
        ("redis:///a", False),
        ("redis:///", False),
        ("redis://cache:6379", False),
        ("redis://user@cache:6379/data:a", False),
        ("redis:///data:%00", False),
        ("rediss:///data:a", False),
    ],
)
def test_addresses(text, is_ours):
    options = {"servers": [{"address": "cache:6379"}], "key_prefix": "data:"}
    assert RedisLocality.from_options(options).recognises(text) is is_ours


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=5))
def test_a_prefix_is_meant_letter_by_letter(server, prefix):
    with redis.Redis("127.0.0.1", server.port) as client:
        client.set(f"{prefix}key", b"")
        client.set(f"~{prefix}", b"")
        found = {key for _, keys in [client.scan(0, match=glob_of(prefix), count=10_000)] for key in keys}
        client.flushall()
    assert f"{prefix}key".encode() in found
    assert all(key.startswith(prefix.encode()) for key in found)


def test_mistakes_are_told():
    with pytest.raises(InvalidInput, match="expected at least one server"):
        RedisLocality.from_options({"servers": []})
    with pytest.raises(InvalidInput, match="expected HOST:PORT, such as cache1:6379, not 'cache'"):
        RedisLocality.from_options({"servers": [{"address": "cache"}]})
    with pytest.raises(InvalidInput, match="listed more often: a:1"):
        RedisLocality.from_options({"servers": [{"address": "a:1"}, {"address": "a:1"}]})
