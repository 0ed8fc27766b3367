"""HTTP locality, against a real server that is well, wrong, short, slow, or sends us elsewhere."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import socket
from collections.abc import Iterator
from functools import partial

import pytest
import trio
from hypothesis import given, strategies as st

from hal_core import HalError, InvalidInput, Measured, NodeName, NotFound, Refused, Replica, Unavailable
from hal_core.testing import LocalityTrial, check_locality, check_locality_broken_off
from hal_core.web.reach import is_own, is_reachable
from hal_locality_http.prefixes import is_below, prefixes_of
from hal_locality_http.provider import HttpLocality
from tests.support.file_server import FileServer

N1 = NodeName("n1")
CONTENT = bytes(range(256)) * 9000


@pytest.fixture(name="server")
def running_server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


def http(server, **options):
    return HttpLocality.from_options({"url_prefixes": [server.url], **options})


async def read(provider, url, offset=0, stop_at=None, into=None):
    content = bytearray() if into is None else into
    async with provider.reading(url, offset) as pieces:
        async for piece in pieces:
            content += piece
            if stop_at is not None and len(content) >= stop_at:
                break
    return bytes(content)


@pytest.mark.parametrize(("has_ranges", "headers"), [(True, {"ETag": '"1"'}), (False, {"ETag": 'W/"1"'})])
async def test_it_keeps_the_contract(server, has_ranges, headers):
    present = server.put("/present%20one?x=1", CONTENT, has_ranges=has_ranges, headers=headers)
    short = server.put("/short", CONTENT, sends=len(CONTENT) - 1)
    trial = LocalityTrial(present, f"{server.url}/absent", damaged=[short], content=CONTENT)
    await check_locality(partial(http, server), trial)
    await check_locality_broken_off(partial(http, server), trial)


async def test_it_goes_on_where_a_server_broke_off(server):
    url = server.put("/file", CONTENT, sends=1_500_000, headers={"ETag": '"1"'})
    provider, content = http(server), bytearray()
    with pytest.raises(OSError, match="no whole answer for http"):
        await read(provider, url, into=content)
    assert len(content) == 1_500_000, "what came before the break is lost"
    server.files["/file"].sends = None
    content += await read(provider, url, begun := len(content))
    assert content == CONTENT
    assert server.asked[-1] == ("GET", "/file", f"bytes={begun}-")


@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, {"Last-Modified": "Fri, 02 Jan 2026 00:00:00 GMT"}),
    ],
)
async def test_two_versions_are_never_mixed(server, first, then, has_ranges):
    url = server.put("/file", CONTENT, headers=first, has_ranges=has_ranges)
    provider = http(server)
    await read(provider, url, 0, stop_at=1)
    server.put("/file", CONTENT[::-1], headers=then, has_ranges=has_ranges)
    with pytest.raises(Refused, match="changed while it was being read"):
        await read(provider, url, 1 << 20)
    assert await read(provider, url) == CONTENT[::-1]
    assert await read(provider, url, 7) == CONTENT[::-1][7:]


async def test_what_is_not_as_the_servers_digest_says_is_refused(server):
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    url = server.put("/file", CONTENT, headers={"Repr-Digest": f"sha-256=:{digest}:"})
    assert await read(http(server), url) == CONTENT
    server.files["/file"].content = CONTENT[:-1] + b"x"
    with pytest.raises(Refused, match="not what the server's digest says"):
        await read(http(server), url)


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (404, NotFound, "there is no http"),
        (410, NotFound, "410"),
        (401, Refused, "not let us read http"),
        (403, Refused, "403"),
        (400, Refused, "400"),
        (500, OSError, "says 500"),
        (503, OSError, "says 503"),
        (429, OSError, "says 429"),
    ],
)
async def test_statuses(server, status, kind, text):
    url, provider = server.put("/file", CONTENT), http(server)
    for offset in (0, 5):
        server.files["/file"].failing = [status]
        with pytest.raises(kind, match=text):
            await read(provider, url, offset)
    tries = [status] * (2 if status in (400, 403) else 1)  # To HEAD these say nothing about GET.
    server.files["/file"].failing = tries.copy()
    with pytest.raises(Unavailable if kind is OSError else kind, match=text):
        await provider.stage(url, [N1])
    server.files["/file"].failing = tries.copy()
    assert await provider.locate([url, url]) == [[], []]
    assert await provider.locate([url]) == [[Replica(url, url, len(CONTENT))]]


async def test_a_server_that_sends_nothing_more_is_given_up(server):
    url = server.put("/file", CONTENT, sends=10, then_hangs=True)
    with pytest.raises(OSError, match=r"no whole answer for|less than a MiB of .* in 0.2 s"):
        await read(http(server, timeout_s=0.2), url)


async def test_a_server_that_dribbles_is_given_up():
    """Each byte comes in time, and a MiB never does: only the time of a piece ends that."""
    has_dribbled = trio.Event()

    async def dribble(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"x")
                await trio.sleep(0.01)
        except trio.BrokenResourceError:
            has_dribbled.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, dribble, 0, host="127.0.0.1"))
        address = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        provider = HttpLocality.from_options({"url_prefixes": [address], "timeout_s": 0.3})
        with pytest.raises(TimeoutError, match="less than a MiB"):
            await read(provider, f"{address}/file")
        with trio.fail_after(60):
            await has_dribbled.wait()
        nursery.cancel_scope.cancel()


async def test_nobody_listens():
    with FileServer() as server:
        url, provider = server.put("/file", CONTENT), http(server)
    with pytest.raises(OSError, match="no whole answer"):
        await read(provider, url)
    with pytest.raises(Unavailable, match="no whole answer"):
        await provider.stage(url, [N1])
    assert await provider.locate([url]) == [[]]


async def test_sizes(server):
    url = server.put("/file", CONTENT)
    assert await http(server).locate([url]) == [[Replica(url, url, len(CONTENT))]]
    assert server.asked == [("HEAD", "/file", "")]
    for status in (403, 405):
        without_head = server.put("/no-head", CONTENT, failing=[status])
        assert await http(server).locate([without_head]) == [[Replica(without_head, without_head, len(CONTENT))]]
    with pytest.raises(Refused, match="size_bytes_max is 5"):
        await http(server, size_bytes_max=5).stage(url, [N1])
    with pytest.raises(Refused, match="size_bytes_max is 5"):
        await read(http(server, size_bytes_max=5), url)
    endless = server.put("/endless", CONTENT, has_length=False)
    with pytest.raises(Refused, match=r"does not say where .* ends"):
        await read(http(server), endless)
    encoded = server.put("/encoded", CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(Refused, match=r"only encoded \(gzip\)"):
        await read(http(server), encoded)


async def test_redirects_go_only_where_they_may(server):
    there = server.put("/there", CONTENT)
    url = server.put("/here", location="/there")
    assert await read(http(server), url, 9) == CONTENT[9:]
    provider = HttpLocality.from_options({"url_prefixes": [f"{server.url}/here"]})
    with pytest.raises(Refused, match=r"sends us to http.*/there, which is not below a listed prefix"):
        await read(provider, url)
    options = {"url_prefixes": [f"{server.url}/here"], "redirect_prefixes": [there]}
    provider = HttpLocality.from_options(options)
    assert await read(provider, url) == CONTENT
    assert not provider.recognises(there)
    with pytest.raises(NotFound, match="is below none of"):
        await read(provider, there)
    for target in ("file:///etc/passwd", "http://169.254.169.254/latest/meta-data"):
        away = server.put("/away", location=target)
        with pytest.raises((HalError, OSError)):
            await read(http(server), away)
    round_about = server.put("/round", location="/round")
    with pytest.raises(Refused, match="sends us on more than 5 times"):
        await read(http(server), round_about)


async def test_the_original_is_never_evicted(server):
    with pytest.raises(Refused, match="is on a web server"):
        await http(server).evict(f"{server.url}/file", N1)


PREFIXES = prefixes_of(["https://data.example.org/public/", "http://plain.example.org:8080"])


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("https://data.example.org/public/a", True),
        ("https://DATA.example.org:443/public/a?x=/../y", True),
        ("https://data.example.org/public", True),
        ("https://data.example.org/publicity/a", False),
        ("https://data.example.org/public/../secret", False),
        ("https://data.example.org/public/%2e%2e/secret", False),
        ("https://data.example.org/public/%2E./secret", False),
        ("http://data.example.org/public/a", False),
        ("https://data.example.org:444/public/a", False),
        ("https://data.example.org@evil.example.net/public/a", False),
        ("https://user:word@data.example.org/public/a", False),
        ("https://data.example.org.evil.example.net/public/a", False),
        ("https://data.example.org\\@evil.example.net/public/a", False),
        ("https://data.example.org/public/a b", False),
        ("https://data.example.org/public/a\r\nHost: x", False),
        ("https://data.example.org/public/a#b", False),
        ("https://data.example.org:x/public/a", False),
        ("http://plain.example.org:8080/a", True),
        ("http://plain.example.org/a", False),
        ("ftp://plain.example.org:8080/a", False),
        ("http:///a", False),
    ],
)
def test_urls_are_compared_part_by_part(url, is_ours):
    assert is_below(url, PREFIXES) is is_ours


def test_a_prefix_without_a_host_stands_for_all():
    assert is_below("https://any.example.net/a", prefixes_of(["https://"]))
    assert not is_below("http://any.example.net/a", prefixes_of(["https://"]))


@given(st.text())
def test_whatever_a_user_writes_is_no_error(text):
    is_below(text, PREFIXES)
    assert not is_below(f"http://plain.example.org:8080@{text}", PREFIXES)


def test_mistakes_are_told():
    with pytest.raises(InvalidInput, match="expected http: or https: URLs"):
        HttpLocality.from_options({"url_prefixes": ["ftp://x"]})
    with pytest.raises(InvalidInput, match="expected at least one"):
        HttpLocality.from_options({"url_prefixes": []})
    with pytest.raises(InvalidInput, match="did you mean 'timeout_s'"):
        HttpLocality.from_options({"url_prefixes": ["https://"], "timeouts": 1.0})


async def test_a_file_is_measured_unless_it_is_better_left_where_it_is(server):
    digest = hashlib.sha256(CONTENT).digest()
    told = {"Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"}
    tagged = server.put("/tagged", CONTENT, headers={"ETag": '"1"'})
    digested = server.put("/digested", CONTENT, headers=told)
    signed = server.put("/file?signature=1", CONTENT, headers={"ETag": '"1"'})
    nameless = server.put("/nameless", CONTENT, headers={"ETag": 'W/"1"'})
    failing = server.put("/failing", CONTENT, failing=[503, 503])
    addresses = (tagged, digested, signed, nameless, f"{server.url}/absent", failing)
    found = await http(server).measure(addresses)
    size = len(CONTENT)
    assert found[:4] == [Measured(size, '"1"'), Measured(size, "", digest.hex()), None, None]
    assert list(map(type, found[4:])) == [NotFound, Unavailable]
    assert "/file?signature=1" not in {path for _, path, _ in server.asked}


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::ffff:7f00:1]", "0.0.0.0"])
async def test_a_prefix_for_all_servers_leads_nobody_to_this_machine(server, host):
    server.put("/file", CONTENT)
    port = server.url.rpartition(":")[2]
    url = f"http://{host}:{port}/file"
    everywhere = HttpLocality.from_options({"url_prefixes": ["http://"]})
    assert everywhere.recognises(url)
    with pytest.raises(Refused, match="an address of this machine or of its cloud's own services"):
        await read(everywhere, url)
    (found,) = await everywhere.measure([url])
    assert isinstance(found, Refused)
    assert server.asked == []


async def test_no_server_sends_us_to_this_machine_by_a_prefix_for_all(server):
    inside = server.put("/inside", CONTENT)
    with FileServer() as other:
        url = other.put("/file", location=inside)
        listed = HttpLocality.from_options({"url_prefixes": [other.url], "redirect_prefixes": ["http://"]})
        with pytest.raises(Refused, match="an address of this machine"):
            await read(listed, url)
    assert server.asked == []


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [
        ("169.254.169.254", False),
        ("::ffff:a9fe:a9fe", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("::", False),
        ("224.0.0.1", False),
        ("10.255.254.253", True),
        ("192.0.2.1", True),
        ("2001:db8::1", True),
    ],
)
def test_addresses_that_are_not_for_users(text, is_ours):
    assert is_reachable(ipaddress.ip_address(text)) is is_ours


def own_address() -> str:
    """That by which the machine is known to others, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.2"
        return str(probe.getsockname()[0])


def test_the_addresses_of_the_machine_itself_are_not_for_users():
    assert not is_own(ipaddress.ip_address("192.0.2.1"))
    own = own_address()
    assert is_own(ipaddress.ip_address(own))
    for text in (own, f"::ffff:{own}", f"64:ff9b::{own}"):
        assert not is_reachable(ipaddress.ip_address(text))
