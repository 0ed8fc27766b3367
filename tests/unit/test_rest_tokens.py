"""Tokens: what is made is taken, and nothing else is. Remote callers on a real port, with every broken credential."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given, strategies as st

from hal_core.errors import Refused
from hal_core.models.access import AccessChange
from hal_core.models.event import AccessChanged
from hal_core.models.job import Owner
from hal_core.rest.app import all_routes, body_bytes_max, build_app
from hal_core.rest.asgi import Limits
from hal_core.rest.listener import Server
from hal_core.rest.network import NetworkAddress, open_network
from hal_core.rest.tokens import KEY_NAME, TokenMaker, Unauthenticated, load_key
from tests.support.http_client import Client, Response
from tests.support.rest_api import ADA, Api, context_of, serving_api
from tests.support.rest_kernel import RestKernel

KEY = bytes(range(32))
OWNER = Owner("ada", ADA, ADA)
NOW_S = 1000.0


def maker(key: bytes = KEY, cluster: str = "test", lifetime_s_max: float = 3600.0) -> TokenMaker:
    return TokenMaker(key, cluster, lifetime_s_max, secrets.token_bytes)


GOOD = maker().issue(OWNER, 600, NOW_S).token
HEAD, KEY_ID, BODY, SIGNATURE = GOOD.split(".")


def text(value: object) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(claims: object, key: bytes = KEY, head: str = f"hal1.{KEY_ID}") -> str:
    body = f"{head}.{text(claims)}"
    return f"{body}.{text(hmac.digest(key, body.encode(), 'sha256'))}"


def jwt(header: object, claims: object, key: bytes = b"") -> str:
    body = f"{text(header)}.{text(claims)}"
    return f"{body}.{text(hmac.digest(key, body.encode(), 'sha256')) if key else ''}"


CLAIMS = json.loads(base64.urlsafe_b64decode(BODY + "=" * (-len(BODY) % 4)))
PUBLIC_PEM = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
TWICE = b'{"uid":0,"uid":1001}'
FORGED = {
    "JWT, alg none": jwt({"alg": "none", "typ": "JWT"}, CLAIMS),
    "JWT, alg None": jwt({"alg": "NoNe"}, CLAIMS),
    "JWT, HS256 with our key": jwt({"alg": "HS256", "kid": KEY_ID}, CLAIMS, KEY),
    "JWT, HS256 with a public key": jwt({"alg": "HS256"}, CLAIMS, PUBLIC_PEM),
    "JWT, RS256 claimed": jwt({"alg": "RS256", "kid": KEY_ID}, CLAIMS, KEY),
    "JWT, no alg": jwt({"typ": "JWT"}, CLAIMS, KEY),
    "another version word": signed(CLAIMS, head=f"hal0.{KEY_ID}"),
    "no version word": GOOD.partition(".")[2],
    "expired": maker().issue(OWNER, 10, NOW_S - 11).token,
    "from the future": maker().issue(OWNER, 600, NOW_S + 120).token,
    "lives too long": maker(lifetime_s_max=1e9).issue(OWNER, 1e8, NOW_S).token,
    "another cluster": maker(cluster="other").issue(OWNER, 600, NOW_S).token,
    "another key": maker(key=bytes(32)).issue(OWNER, 600, NOW_S).token,
    "our key id, another key": signed(CLAIMS, bytes(32)),
    "empty signature": f"{HEAD}.{KEY_ID}.{BODY}.",
    "no signature": f"{HEAD}.{KEY_ID}.{BODY}",
    "signature cut": GOOD[:-1],
    "signature longer": GOOD + "A",
    "signature in another spelling": GOOD[:-1] + chr(ord(GOOD[-1]) + 1),
    "padding": GOOD + "=",
    "key id is a path": signed(CLAIMS, head="hal1.../../../../dev/null"),
    "key id is SQL": signed(CLAIMS, head="hal1.' OR '1'='1"),
    "key id in capitals": signed(CLAIMS, head=f"hal1.{KEY_ID.upper()}") if KEY_ID.upper() != KEY_ID else GOOD[:-1],
    "another user, old signature": f"{HEAD}.{KEY_ID}.{text(CLAIMS | {'uid': 0, 'user': 'root'})}.{SIGNATURE}",
    "claims twice": f"{HEAD}.{KEY_ID}.{BODY}.{BODY}.{SIGNATURE}",
    "duplicate claims, unsigned": f"{HEAD}.{KEY_ID}.{text(TWICE)}.{SIGNATURE}",
    "the user has another name now": maker().issue(Owner("eve", ADA, ADA), 600, NOW_S).token,
    "10 kB": "hal1." + "A" * 10_000,
    "a word": "x",
    "spaces": "hal1. . . ",
    "not ASCII": "hal1.\xe4.\xe4.\xe4",
}


class Remote:
    """The API on a port of this machine, as a remote caller finds it."""

    def __init__(self, api: Api, port: int) -> None:
        self.api = api
        self.port = port

    async def request(
        self, method: str, target: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Response:
        """`Host` is right unless the headers say otherwise."""
        async with Client(await trio.open_tcp_stream("127.0.0.1", self.port)) as client:
            return await client.request(method, target, body, {"host": f"127.0.0.1:{self.port}"} | (headers or {}))


@asynccontextmanager
async def serving_remote(path: Path, **changes: object) -> AsyncIterator[Remote]:
    kernel = RestKernel(now_s=NOW_S)
    tokens = maker()
    limits = Limits(body_bytes_max=body_bytes_max)
    async with serving_api(path, kernel, tokens=tokens, **changes) as api, trio.open_nursery() as nursery:
        network = await open_network(NetworkAddress("127.0.0.1:0", hosts=("hal.example.org",)))
        server = Server(build_app(context_of(kernel, tokens=tokens, **changes)), limits, lambda: NOW_S)
        await nursery.start(server.serve, [network.listener], network.identify)
        yield Remote(api, network.port)
        nursery.cancel_scope.cancel()


def auth(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_a_good_token_is_its_user(tmp_path: Path) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        status = await remote.request("GET", "/v1/status", headers=auth(GOOD))
        assert status.json()["caller"] == {"user": "ada", "uid": ADA, "role": "user"}
        job = {"client_id": "c", "command": ["/bin/true"]}
        assert (await remote.request("POST", "/v1/jobs", job, auth(GOOD))).status == 201
        (record,) = remote.api.kernel.state.jobs.values()
        assert record.owner == OWNER


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    token = FORGED[name]
    async with serving_remote(tmp_path / "s") as remote:
        sequence = remote.api.kernel.state.sequence
        job = {"client_id": "c", "command": ["/bin/true"]}
        answer = await remote.request("POST", "/v1/jobs", job, auth(token))
        assert (answer.status, answer.kind) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert len(token) < 8 or token not in answer.body.decode() + caplog.text
        assert remote.api.kernel.state.sequence == sequence
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_huge_token_is_not_even_read(tmp_path: Path) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        assert (await remote.request("GET", "/v1/status", headers=auth("A" * 60_000))).status == 431
        async with Client(await trio.open_tcp_stream("127.0.0.1", remote.port)) as client:
            with contextlib.suppress(trio.BrokenResourceError):  # closed before it was all sent
                await client.send(b"GET /v1/status HTTP/1.1\r\nauthorization: Bearer " + b"A" * 1_000_000)
            assert (await client.rest())[:12] in (b"HTTP/1.1 431", b"")


CREDENTIALS = {
    "none": {},
    "empty": {"authorization": ""},
    "another scheme": {"authorization": "Basic YWRhOmFkYQ=="},
    "no token": {"authorization": "Bearer"},
    "expired": auth(FORGED["expired"]),
    "forged": auth(FORGED["our key id, another key"]),
    "user in a header": {"x-forwarded-user": "root", "x-remote-user": "root", "remote-user": "root"},
}


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_no_route_answers_a_stranger(tmp_path: Path, credential: str) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        sequence = remote.api.kernel.state.sequence
        for route in all_routes("0"):
            target = route.path.format(job_id=1, name="n1")
            body = b"{}" if route.body is not None else None
            answer = await remote.request(route.method, target, body, CREDENTIALS[credential])
            assert (answer.status, answer.kind) == (401, "unauthenticated"), route.path
        assert remote.api.kernel.state.sequence == sequence
        assert remote.api.kernel.asked == []


async def test_two_tokens_are_none(tmp_path: Path) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        raw = f"GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1:{remote.port}\r\n"
        raw += f"authorization: Bearer {GOOD}\r\nauthorization: Bearer {GOOD}\r\n\r\n"
        async with Client(await trio.open_tcp_stream("127.0.0.1", remote.port)) as client:
            await client.send(raw.encode())
            assert (await client.response()).status == 400


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200), ("localhost:{port}", 200), ("LOCALHOST:{port}", 200), ("[::1]:{port}", 200),
        ("hal.example.org:{port}", 200), ("evil.example:{port}", 421), ("127.0.0.1", 421), ("localhost", 421),
        ("127.0.0.1:1", 421), ("127.0.0.1.evil.example:{port}", 421), ("localhost:{port}@evil", 421),
        ("0x7f000001:{port}", 421), ("127.1:{port}", 421), ("0.0.0.0:{port}", 421),
    ],
)  # fmt: skip
async def test_a_name_that_is_not_ours_is_refused(tmp_path: Path, host: str, status: int) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        headers = auth(GOOD) | {"host": host.format(port=remote.port)}
        assert (await remote.request("GET", "/v1/status", headers=headers)).status == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
async def test_a_web_page_is_refused_whatever_it_shows(tmp_path: Path, origin: str) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        for method in ("GET", "OPTIONS"):
            answer = await remote.request(method, "/v1/status", headers=auth(GOOD) | {"origin": origin})
            assert answer.status == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_token_is_made_for_the_caller_on_the_socket_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        with caplog.at_level(logging.INFO, "hal.rest"):
            made = await remote.api.post("/v1/tokens", {"lifetime": "10m"})
        assert made.status == 201
        token = made.json()["token"]
        assert made.json()["end_time_s"] == NOW_S + 600
        assert made.json()["nonce"] in caplog.text
        assert token not in caplog.text
        noted = remote.api.kernel.journal.events[-1]
        assert isinstance(noted, AccessChanged)
        assert (noted.change, noted.subject, noted.by) == (AccessChange.TOKEN_MADE, "ada", "ada")
        assert made.json()["nonce"] in noted.detail
        assert token.rpartition(".")[2] not in noted.detail
        seen = (await remote.request("GET", "/v1/status", headers=auth(token))).json()["caller"]
        assert seen["user"] == "ada"
        again = await remote.request("POST", "/v1/tokens", {}, auth(token))
        assert (again.status, again.kind) == (403, "forbidden")
        for lifetime in ("2h", "0s", "-1m", "x", "1"):
            refused = await remote.api.post("/v1/tokens", {"lifetime": lifetime})
            assert (refused.status, refused.places) == (422, ["lifetime"]), lifetime
        assert (await remote.api.post("/v1/tokens", {"user": "bob"})).status == 422
        assert (await remote.api.post("/v1/tokens", {"uid": 0})).status == 422


async def test_without_an_address_there_are_no_tokens(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        refused = await api.post("/v1/tokens", {})
        assert refused.kind == "refused"
        assert "hal dev --address" in refused.json()["error"]["text"]


async def test_the_socket_takes_no_tokens(tmp_path: Path) -> None:
    async with serving_remote(tmp_path / "s") as remote:
        assert (await remote.api.request("GET", "/v1/status", headers=auth(GOOD))).status == 401


@given(st.text() | st.from_regex(r"hal1\.[0-9a-f]{16}\.[A-Za-z0-9_-]{1,60}\.[A-Za-z0-9_-]{43}", fullmatch=True))
def test_any_text_is_refused_as_what_it_is(token: str) -> None:
    with pytest.raises(Unauthenticated):
        maker().check(token, NOW_S)


@given(st.integers(0, len(GOOD) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_character_of_a_token_can_be_changed(at: int, character: str) -> None:
    changed = GOOD[:at] + character + GOOD[at + 1 :]
    if changed == GOOD:
        assert maker().check(changed, NOW_S).owner == OWNER
    else:
        with pytest.raises(Unauthenticated):
            maker().check(changed, NOW_S)


def test_what_is_printed_holds_no_secret() -> None:
    issued = maker().issue(OWNER, 600, NOW_S)
    shown = f"{issued!r} {maker()!r}"
    assert issued.token not in shown
    assert KEY.hex() not in shown
    assert hashlib.sha256(KEY).hexdigest()[:16] not in shown


def test_a_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    key = load_key(directory, os.urandom)
    assert load_key(directory, os.urandom) == key
    assert (directory / KEY_NAME).stat().st_mode & 0o777 == 0o600


def _readable(directory: Path) -> Path:
    (directory / KEY_NAME).chmod(0o644)
    return directory / KEY_NAME


def _short(directory: Path) -> Path:
    (directory / KEY_NAME).write_bytes(b"short")
    return directory / KEY_NAME


def _open_directory(directory: Path) -> Path:
    directory.chmod(0o777)
    return directory


def _link(directory: Path) -> Path:
    (directory / KEY_NAME).rename(directory / "elsewhere")
    (directory / KEY_NAME).symlink_to(directory / "elsewhere")
    return directory / KEY_NAME


def _dangling_link(directory: Path) -> Path:
    (directory / KEY_NAME).unlink()
    (directory / KEY_NAME).symlink_to("/nowhere/at/all")
    return directory / KEY_NAME


def _others(directory: Path) -> Path:
    os.chown(directory / KEY_NAME, 65534, 65534)
    return directory / KEY_NAME


@pytest.mark.parametrize("spoil", [_readable, _short, _open_directory, _link, _dangling_link, _others])
def test_a_key_that_others_could_have_is_refused_with_its_path(tmp_path: Path, spoil) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    load_key(directory, os.urandom)
    if spoil is _others and os.geteuid() != 0:
        pytest.fail("giving a file to another user takes root")
    path = spoil(directory)
    with pytest.raises(Refused, match=str(path)):
        load_key(directory, os.urandom)
