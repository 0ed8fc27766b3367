"""The blocking transport against a real server: answers, errors, streams, and a daemon that is gone."""

import socket
import threading

import pytest

from hal_core.client.transport import Answer, Connection, NoAnswer, Patience, Rejected, insist
from tests.support.scripted_server import Reply, ScriptedServer, error


@pytest.fixture
def server(tmp_path):
    with ScriptedServer(tmp_path / "hal.sock") as running:
        yield running


@pytest.fixture
def connection(server):
    with Connection(str(server.path), timeout_s=5) as connection:
        yield connection


def test_requests_share_a_connection(server, connection):
    server.answer("GET", "/a", {"number": 1})
    server.answer("POST", "/b", lambda request: Reply({"was": request.body}, 201))
    assert connection.request("GET", "/a").json() == {"number": 1}
    first = connection._socket
    answer = connection.request("POST", "/b", {"text": "é\n"})
    assert (answer.status, answer.json()) == (201, {"was": {"text": "é\n"}})
    assert connection._socket is first


def test_an_error_is_raised_with_all_its_problems(server, connection):
    problems = [("options.mem", "'10X' is no amount"), ("options.nodes", "'0' is too few")]
    server.answer("POST", "/v1/jobs", error(422, "invalid_input", "2 problems", problems))
    with pytest.raises(Rejected) as caught:
        connection.request("POST", "/v1/jobs", {})
    assert (caught.value.status, caught.value.kind, caught.value.problems) == (422, "invalid_input", problems)
    server.answer("GET", "/a", {})
    assert connection.request("GET", "/a").json() == {}


def test_an_error_that_is_no_json_is_still_an_error(server, connection):
    server.answer("GET", "/a", Reply(raw=b"HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\noops"))
    with pytest.raises(Rejected, match="status 500"):
        connection.request("GET", "/a")


def test_an_answer_that_is_no_json_is_told_as_such():
    with pytest.raises(NoAnswer, match="not JSON"):
        Answer(200, b"<html>").json()


def test_a_connection_that_the_server_closed_is_opened_again(tmp_path):
    path = tmp_path / "hal.sock"
    with Connection(str(path)) as connection:
        for number in range(2):
            with ScriptedServer(path) as server:
                server.answer("GET", "/a", {"number": number})
                assert connection.request("GET", "/a").json() == {"number": number}
            path.unlink()


def test_a_refusal_before_the_body_was_read_is_heard(server, connection):
    refusal = b'HTTP/1.1 413 No\r\nconnection: close\r\n\r\n{"error": {"kind": "too_large", "text": "too large"}}'

    def refuse(listener):
        peer, _ = listener.accept()
        with peer:
            peer.recv(10)
            peer.sendall(refusal)

    path = server.path.with_name("early.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        with Connection(str(path)) as early, pytest.raises((Rejected, NoAnswer)) as caught:
            early.request("POST", "/v1/jobs", {"script": "x" * 3_000_000})
        thread.join()
    assert "too large" in str(caught.value) or "broke off" in str(caught.value)


def test_a_long_question_is_asked_in_turns(server, connection):
    is_over = threading.Event()
    server.answer("GET", "/wait", lambda _: Reply({"over": is_over.wait(10)}))
    connection.begin("GET", "/wait")
    assert connection.poll(0.01) is None
    assert connection.poll(0.01) is None
    is_over.set()
    answer = connection.poll(5)
    assert answer is not None
    assert answer.json() == {"over": True}


def test_a_stream_gives_its_lines_as_they_come(server, connection):
    may_go_on = threading.Event()

    def pieces():
        yield b"id: 1\nda"
        may_go_on.wait(10)
        yield b"ta: {}\r\n\n"

    server.answer("GET", "/events", lambda _: Reply(stream=pieces()))
    lines = connection.lines("/events", silence_s_max=0.05)
    assert next(lines) == "id: 1"
    assert next(lines) is None
    may_go_on.set()
    assert [line for line in lines if line is not None] == ["data: {}", ""]


def test_a_stream_that_is_refused_raises(server, connection):
    server.answer("GET", "/events", error(410, "gone", "events before 5 are not kept"))
    with pytest.raises(Rejected, match="not kept"):
        list(connection.lines("/events"))


@pytest.mark.parametrize("content", [None, b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"SSH-2.0-x\r\n\r\n"])
def test_a_broken_connection_leaves_the_outcome_unknown(server, connection, content):
    server.answer("GET", "/a", Reply(raw=content) if content is not None else Reply(raw=b"HTTP/1.1 200"))
    with pytest.raises(NoAnswer) as caught:
        connection.request("GET", "/a")
    assert caught.value.is_outcome_unknown


def test_silence_is_told_in_time(server, connection):
    is_over = threading.Event()
    server.answer("GET", "/a", lambda _: Reply({"over": is_over.wait(10)}))
    with pytest.raises(NoAnswer, match="does not answer"):
        connection.request("GET", "/a", timeout_s=0.05)
    is_over.set()


def test_nobody_there_is_told_with_the_way_out(tmp_path):
    with pytest.raises(NoAnswer, match="hal dev") as caught:
        Connection(str(tmp_path / "hal.sock")).request("GET", "/a")
    assert not caught.value.is_outcome_unknown
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "old.sock"))
    with pytest.raises(NoAnswer, match="the daemon has ended"):
        Connection(str(tmp_path / "old.sock")).request("GET", "/a")
    with pytest.raises(NoAnswer, match="too long"):
        Connection("/" + "x" * 200).request("GET", "/a")


def test_a_busy_daemon_is_asked_again(server, connection):
    replies = [error(503, "unavailable", "inbox full", Retry_After="0"), Reply({"job_id": 1})]
    server.answer("POST", "/v1/jobs", lambda _: replies.pop(0))
    answer = insist(lambda left_s: connection.request("POST", "/v1/jobs", {"client_id": "a"}, left_s))
    assert answer.json() == {"job_id": 1}
    assert [request.body for request in server.requests] == [{"client_id": "a"}] * 2


def test_patience_ends():
    patience = Patience(now_s=100.0, patience_s=9.0)
    lost = NoAnswer("broke off", is_outcome_unknown=True)
    down = NoAnswer("nobody listens")
    with pytest.raises(NoAnswer, match="nobody"):
        patience.pause_s(down, 100.0)
    assert patience.pause_s(lost, 101.0) == 0.2
    assert patience.pause_s(down, 102.0) == 0.2, "after a lost answer the daemon may be restarting"
    with pytest.raises(NoAnswer) as caught:
        patience.pause_s(down, 109.0)
    assert caught.value.is_outcome_unknown
    with pytest.raises(Rejected):
        patience.pause_s(Rejected(422, {}, 1.0), 101.0)
    assert patience.left_s(104.0) == 5.0
    assert patience.pause_s(Rejected(503, {}, 1.0), 101.0) == 1.0
    with pytest.raises(Rejected):
        patience.pause_s(Rejected(503, {"text": "the disk is full"}, 5.0), 101.0)


def test_nobody_is_asked_once(tmp_path):
    asked = []

    def ask(left_s):
        asked.append(left_s)
        return Connection(str(tmp_path / "hal.sock")).request("GET", "/", timeout_s=left_s)

    with pytest.raises(NoAnswer):
        insist(ask)
    assert len(asked) == 1
