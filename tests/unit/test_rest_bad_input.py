"""Bad inputs and the answers they get: no 500, no traceback, nothing changed, and HAL still answers afterwards."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, strategies as st

from hal_core.errors import InvalidInput
from hal_core.parsing.request import JobRequest
from hal_core.rest.answers import BadRequest
from hal_core.rest.asgi import Limits
from hal_core.rest.strict_json import read_body, read_json
from tests.support.http_client import request_bytes
from tests.support.rest_api import Api, serving_api

JSON = {"content-type": "application/json"}
GOOD = b'{"client_id":"c","command":["x"]}'


@pytest.fixture
async def api(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Api]:
    """A server that must log no bug, change nothing and still answer when the test is over."""
    with caplog.at_level(logging.ERROR, "hal.rest"):
        async with serving_api(tmp_path / "s") as running:
            sequence = running.kernel.state.sequence
            yield running
            assert running.kernel.state.sequence == sequence
            assert (await running.get("/v1/status")).status == 200
        assert caplog.records == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"hello", 400, id="21 not JSON"),
        pytest.param(b"[]", 422, id="22 array instead of object"),
        pytest.param(b'"x"', 422, id="22 text instead of object"),
        pytest.param(b'{"a":' * 150_000, 400, id="23 deep objects"),
        pytest.param(b"[" * 200_000, 400, id="23 deep lists"),
        pytest.param(b'{"options":' + b"[" * 40 + b"]" * 40 + b"}", 400, id="23 deeper than anything needs"),
        pytest.param(b'{"client_id":NaN}', 400, id="24 NaN"),
        pytest.param(b'{"client_id":-Infinity}', 400, id="24 Infinity"),
        pytest.param(b'{"client_id":"a","client_id":"b"}', 400, id="25 duplicate key"),
        pytest.param(b'{"x":{"a":1,"a":1}}', 400, id="25 duplicate key inside"),
        pytest.param(b'{"client_id":' + b"9" * 5000 + b"}", 400, id="26 integer of 5000 digits"),
        pytest.param(rb'{"client_id":"\ud800"}', 422, id="27 lone surrogate"),
        pytest.param(rb'{"client_id":"a\u0000b"}', 422, id="27 NUL"),
        pytest.param(rb'{"client_id":"c","command":["\udc80"]}', 422, id="27 lone surrogate in a list"),
        pytest.param(rb'{"\ud800":1}', 422, id="27 lone surrogate in a key"),
        pytest.param(b'{"client_id":"a\x00b"}', 400, id="27 raw NUL"),
        pytest.param(b'{"client_id":"\xff"}', 400, id="27 not UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"client_id":"c"}', 400, id="27 byte order mark"),
        pytest.param(b'{"client_id":"c","command":["x"],"colour":1}', 422, id="28 unknown field"),
        pytest.param(b'{"client_id":true,"command":["x"]}', 422, id="29 bool for text"),
        pytest.param(b'{"client_id":"c","command":"x"}', 422, id="29 text for list"),
        pytest.param(b'{"client_id":"c","command":[1]}', 422, id="29 number in list"),
        pytest.param(b'{"client_id":"c","command":null}', 422, id="29 null for list"),
        pytest.param(b'{"client_id":"c","options":[["nodes"]]}', 422, id="29 pair of one"),
        pytest.param(b'{"client_id":"c","options":[["nodes",2.0]]}', 422, id="30 float"),
        pytest.param(b"", 400, id="31 empty body"),
        pytest.param(GOOD + b"x", 400, id="31 more behind the object"),
        pytest.param(b'{"client_id":"c"}', 422, id="nothing to run"),
        pytest.param(b'{"command":["x"]}', 422, id="no client id"),
        pytest.param(b'{"client_id":"' + b"c" * 129 + b'","command":["x"]}', 422, id="long client id"),
        pytest.param(b"x" * ((1 << 20) + 1), 413, id="33 one byte too many"),
        pytest.param(b'{"client_id":"c","command":["' + b"x" * 1_000_000 + b'"]}', 422, id="one long word"),
    ],
)
async def test_bodies(api: Api, body: bytes, status: int) -> None:
    answer = await api.request("POST", "/v1/jobs", body)
    assert answer.status == status, answer.body
    error = answer.json()["error"]
    assert error["kind"] in {"bad_request", "invalid_input", "too_large"}
    assert 0 < len(error["text"]) < 2000


@pytest.mark.parametrize(
    ("value", "status"),
    [(True, 422), (2.0, 422), (1e3, 422), ("2", 422), (None, 422), (1_000_001, 422), (10**17, 422), (10**30, 400)],
)
async def test_numbers_are_whole_numbers_within_limits(api: Api, value: Any, status: int) -> None:
    body = b'{"priority":%s}' % str(value).replace("True", "true").replace("None", "null").encode()
    if isinstance(value, str):
        body = b'{"priority":"2"}'
    api.uid = 1003
    job = await api.post("/v1/jobs/1/priority", body)
    assert job.status == status


async def test_of_several_values_the_wrong_one_is_named(api: Api) -> None:
    told = (await api.get("/v1/history?with=cost,prediction")).json()["error"]["problems"]
    assert [each["place"] for each in told] == ["with"]
    assert "holds 'prediction', which is not one of cost, predictions (did you mean 'predictions'?)" in told[0]["text"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v2/jobs", 404),
        ("GET", "/v1/jobs/", 404),
        ("DELETE", "/v1/jobs", 405),
        ("PATCH", "/v1/jobs/1", 405),
        ("OPTIONS", "/v1/jobs", 405),
        ("POST", "/v1/status", 405),
        ("HEAD", "/v1/events", 405),
        ("TRACE", "/v1/status", 405),
        ("GET", "/v1/jobs/../status", 404),
        ("GET", "/v1/jobs/%2e%2e/status", 404),
        ("GET", "/v1/%6aobs", 404),
        ("GET", "//v1/jobs", 404),
        ("GET", "/v1//jobs", 404),
        ("GET", "/v1/jobs;x=1", 404),
        ("GET", "/v1/jobs%2f1", 404),
        ("GET", "/v1/jobs/%00", 404),
        ("GET", "/v1/jobs/-1", 404),
        ("GET", "/v1/jobs/0", 404),
        ("GET", "/v1/jobs/1.0", 404),
        ("GET", "/v1/jobs/1+OR+1=1", 404),
        ("GET", "/v1/jobs/1%20OR%201=1", 404),
        ("GET", "/v1/jobs/1" + "0" * 30, 404),
        ("GET", "/v1/jobs/1" + "0" * 5000, 404),
        ("GET", "/v1/jobs/99", 404),
        ("GET", "/v1/nodes/n9", 404),
        ("GET", "/v1/nodes/" + "x" * 5000, 404),
        ("GET", "/v1/jobs?limit=-1", 422),
        ("GET", "/v1/jobs?limit=0", 422),
        ("GET", "/v1/jobs?limit=1000000000", 422),
        ("GET", "/v1/jobs?limit=1e3", 422),
        ("GET", "/v1/jobs?limit=%D9%A3", 422),
        ("GET", "/v1/jobs?limit=", 422),
        ("GET", "/v1/jobs?sort=password", 422),
        ("GET", "/v1/jobs?limit=1&limit=2", 422),
        ("GET", "/v1/jobs?state=LOST", 422),
        ("GET", "/v1/jobs?user=", 422),
        ("GET", "/v1/jobs?user=a%00b", 422),
        ("GET", "/v1/jobs?user=%ff", 400),
        ("GET", "/v1/jobs?limit", 400),
        ("GET", "/v1/jobs?" + "&".join(f"a{n}=1" for n in range(100)), 400),
        ("GET", "/v1/jobs?cursor=xyz", 422),
        ("GET", "/v1/jobs?cursor=g6RwYXJ0AKZqb2JfaWQA", 422),
        ("GET", "/v1/jobs?cursor=%00", 422),
        ("GET", "/v1/status?x=1", 422),
        ("GET", "/v1/events?after=999", 422),
        ("GET", "/v1/events?after=-1", 422),
        ("GET", "/v1/history?since_time_s=nan", 422),
        ("GET", "/v1/history?order=random", 422),
        ("GET", "/v1/jobs/1?wait=maybe", 422),
        ("GET", "/v1/jobs/1?wait=ended&timeout_s=301", 422),
    ],
)
async def test_routes_and_queries(api: Api, method: str, target: str, status: int) -> None:
    answer = await api.request(method, target)
    assert answer.status == status, answer.body
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "text/plain"}, GOOD, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, GOOD, 415),
        ({"content-type": "application/json; charset=latin-1"}, GOOD, 415),
        ({"content-encoding": "gzip"}, gzip.compress(GOOD, mtime=0), 415),
        ({"origin": "https://evil.example"}, GOOD, 403),
        ({"origin": "null"}, GOOD, 403),
    ],
)
async def test_browsers_and_media_types(api: Api, headers: dict[str, str], body: bytes, status: int) -> None:
    assert (await api.request("POST", "/v1/jobs", body, headers=headers)).status == status


async def test_a_web_page_cannot_even_read(api: Api) -> None:
    assert (await api.request("GET", "/v1/jobs", headers={"origin": "http://hal"})).status == 403


async def test_a_route_without_a_body_takes_none(api: Api) -> None:
    assert (await api.request("GET", "/v1/jobs", GOOD)).status == 400


async def test_a_tampered_cursor_is_refused(api: Api) -> None:
    sequence = api.kernel.state.sequence
    for _ in range(3):
        await api.submit()
    api.kernel.core.state.sequence = sequence  # what this test submitted is not what the fixture looks for
    cursor = (await api.get("/v1/jobs?limit=1")).json()["next_cursor"]
    for changed in (cursor[:-4], cursor + "AAAA", cursor.swapcase(), cursor[1:], "A" * 600):
        assert (await api.get(f"/v1/jobs?cursor={changed}")).status == 422
    nodes_cursor = (await api.get("/v1/nodes?limit=1")).json()["next_cursor"]
    assert (await api.get(f"/v1/jobs?cursor={nodes_cursor}")).status == 422


async def test_deep_bodies_are_refused_quickly(api: Api) -> None:
    with trio.fail_after(2):
        async with await api.connect() as client:
            for _ in range(10):
                assert (await client.request("POST", "/v1/jobs", b"[" * 200_000)).status == 400


async def test_a_refused_body_keeps_the_connection_in_step(api: Api) -> None:
    async with await api.connect() as client:
        await client.send(request_bytes("POST", "/v1/jobs", b"{}", {"content-type": "text/plain"}))
        assert (await client.response()).status == 415
        assert (await client.request("GET", "/v1/status")).status == 200


@pytest.mark.parametrize("target", ["/v1/jobs", "/v1/nothing", "/v1/status"])
async def test_a_large_body_that_nobody_reads_does_not_cost_the_answer(api: Api, target: str) -> None:
    answer = await api.request("POST", target, b"x" * 1_000_000, headers={"content-type": "text/plain"})
    assert answer.status in {404, 405, 415}


async def test_a_body_that_was_not_asked_for_yet_is_not_waited_for(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s", limits=Limits(linger_s=1e6)) as api, await api.connect() as client:
        await client.send(
            b"POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\nexpect: 100-continue\r\n\r\n"
        )
        with trio.fail_after(60):
            assert (await client.rest()).startswith(b"HTTP/1.1 404 ")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["command", "x"]), inner, max_size=2),
    max_leaves=6,
)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest, InvalidInput):
        read_json(body)


@given(st.dictionaries(st.sampled_from(["client_id", "command", "options", "script", "x"]), JSON_VALUES))
def test_any_object_is_a_request_or_refused(value: dict[str, Any]) -> None:
    with contextlib.suppress(BadRequest, InvalidInput):
        request = read_body(json.dumps(value).encode(), JobRequest)
        assert set(value) <= {"client_id", "command", "options", "script"}
        assert all(isinstance(word, str) for word in request.command)
