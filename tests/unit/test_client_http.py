"""The reader of answers against anything a peer may send, and the words of a target against urllib's reading."""

import json
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given, strategies as st

from hal_core.client.http import HEAD_BYTES_MAX, ResponseReader, query, quoted, request_bytes
from hal_core.client.sse import EventParser

pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def read(data: bytes, cuts: list[int]) -> tuple[ResponseReader, bytes]:
    """Feed `data` cut at the places given."""
    reader, body, start = ResponseReader(), b"", 0
    for cut in [*sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]:
        body += reader.feed(data[start:cut])
        start = cut
    return reader, body


def chunked(parts: list[bytes]) -> bytes:
    chunks = b"".join(b"%X;note=1\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: 1\r\n\r\n"


@given(pieces, st.lists(st.integers(0, 10_000)))
def test_a_chunked_answer_is_the_same_however_it_arrives(parts, cuts):
    reader, body = read(chunked(parts), cuts)
    assert (reader.is_complete, body) == (True, b"".join(parts))


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000)))
def test_an_answer_with_a_length_is_the_same_however_it_arrives(content, cuts):
    reader, body = read(b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content), cuts)
    assert (reader.status, reader.is_complete, body) == (422, True, content)


@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000)))
def test_nonsense_is_refused_or_waited_on_but_never_believed(data, cuts):
    try:
        reader, _ = read(data, cuts)
        reader.end()
    except ValueError:
        return
    assert data.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"x" * (HEAD_BYTES_MAX + 1),
    ],
)
def test_a_broken_answer_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        ResponseReader().feed(data)


def test_an_answer_that_is_cut_off_is_refused():
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
    with pytest.raises(ValueError, match="middle of an answer"):
        reader.end()


def test_without_a_length_the_end_of_the_connection_ends_the_answer():
    reader, body = read(b"HTTP/1.0 200 OK\r\n\r\nall", [])
    assert not reader.is_complete
    reader.end()
    assert (reader.is_complete, body) == (True, b"all")


def test_an_interim_answer_is_passed_over():
    reader, body = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}", [])
    assert (reader.status, body, reader.can_be_reused) == (201, b"{}", True)


def test_a_connection_that_the_server_closes_is_not_reused():
    reader, _ = read(b"HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n", [])
    assert (reader.is_complete, reader.can_be_reused) == (True, False)


def test_a_request_says_how_long_its_body_is():
    body = json.dumps({"priority": -1}).encode()
    head, _, rest = request_bytes("POST", "/v1/jobs/1/priority", body).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/jobs/1/priority HTTP/1.1\r\n")
    assert b"content-length: %d" % len(body) in head
    assert rest == body
    assert b"content-length: 0" in request_bytes("POST", "/")
    assert b"content-length" not in request_bytes("GET", "/")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(texts, st.none() | st.integers())
def test_a_query_is_read_back_as_it_was_meant(name, after):
    parts = urlsplit(query("/v1/jobs", name=name, after=after))
    wanted = {"name": [name]} | ({} if after is None else {"after": [str(after)]})
    assert (parts.path, parse_qs(parts.query, keep_blank_values=True)) == ("/v1/jobs", wanted)


@given(texts)
def test_a_path_segment_cannot_leave_its_place(name):
    segment = quoted(name)
    assert unquote(segment) == name
    assert not set(segment) & set("/?#% \r\n") - {"%"}


@given(st.lists(st.tuples(st.integers(0, 10**12), st.sampled_from(["JobEnded", "NodeJoined"]), texts), max_size=5))
def test_events_are_read_from_a_stream_with_comments(sent):
    lines = []
    for sequence, kind, text in sent:
        data = json.dumps({"text": text})
        lines += [": heartbeat", "", f"id: {sequence}", f"event: {kind}", f"data: {data}", "retry: 5", ""]
    parser = EventParser()
    found = [event for line in lines if (event := parser.feed(line)) is not None]
    assert [(e.sequence, e.kind, json.loads(e.data)["text"]) for e in found] == sent
