"""`hal watch`: events in words, taken up where they broke off, until the job has ended."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import COMMAND, environment, hal
from tests.support.rest_bodies import STATUS, job
from tests.support.scripted_server import Reply, Request, ScriptedServer, error

CANCELLED = {"kind": "cancelled", "exit_code": None, "signal": None, "by": "ada", "detail": ""}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(tmp_path / "hal.sock") as running:
        running.answer("GET", "/v1/status", STATUS | {"sequence": 6})
        yield running


def event(sequence: int, kind: str, **data: object) -> bytes:
    return f"id: {sequence}\nevent: {kind}\ndata: {json.dumps({'time_s': 1764000000.0, **data})}\n\n".encode()


def ended(sequence: int, elements: str = "0") -> bytes:
    return event(sequence, "JobEnded", job_id=12, elements=elements, attempt=1, end=CANCELLED)


def view(sequence: int, **more: object) -> dict[str, object]:
    return job(job_id=12, sequence=sequence, **more)


STARTED = event(7, "PartStarted", key=[12, 0, 1], node="n1", start_time_s=1764000000.0)


def test_a_job_is_told_until_it_has_ended_over_a_stream_that_broke_off(server: ScriptedServer):
    views = [view(6, state="PENDING", counts={"PENDING": 1}), view(9, state="CANCELLED", counts={"CANCELLED": 1})]
    streams = [[STARTED, b"id: 8\n\n"], [ended(9), event(10, "JobHeld", job_id=12, by="x")]]
    server.answer("GET", "/v1/jobs/12", lambda _: Reply(views.pop(0)))
    server.answer("GET", "/v1/events", lambda _: Reply(stream=streams.pop(0)))
    done = hal(server.path, "watch", "12")
    first, *lines = done.out.splitlines()
    assert (done.code, first.startswith("6 ")) == (0, True)
    assert "job 12: PENDING" in first
    assert lines == [
        "7 2025-11-24 16:00:00 job 12 runs on n1",
        "9 2025-11-24 16:00:00 job 12 ended: cancelled by ada",
    ]
    asked = [each.query for each in server.requests if each.path == "/v1/events"]
    assert asked == [{"after": "6", "job_id": "12"}, {"after": "8", "job_id": "12"}]


def test_an_array_is_watched_until_its_last_element(server: ScriptedServer):
    array = {"array": "0-9", "element_count": 10}
    views = [
        view(6, state="RUNNING", counts={"RUNNING": 4, "COMPLETED": 6}, **array),
        view(9, state="RUNNING", counts={"PENDING": 1, "COMPLETED": 9}, **array),  # one was queued again
        view(11, state="COMPLETED", counts={"COMPLETED": 10}, **array),
    ]
    stream = [ended(7, "6-8"), ended(8, "9"), event(10, "JobHeld", job_id=12, by="x"), ended(11, "0")]
    server.answer("GET", "/v1/jobs/12", lambda _: Reply(views.pop(0)))
    server.answer("GET", "/v1/events", Reply(stream=stream))
    lines = hal(server.path, "watch", "12").out.splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == [
        "job 12: 4 RUNNING, 6 COMPLETED",
        "job 12_[6-8] ended: cancelled by ada",
        "job 12_9 ended: cancelled by ada",
        "job 12 is held by x",
        "job 12_0 ended: cancelled by ada",
        "job 12: 10 COMPLETED",
    ]


def test_of_a_job_that_has_ended_the_rest_is_told(server: ScriptedServer):
    server.answer("GET", "/v1/jobs/12", view(9, state="CANCELLED", counts={"CANCELLED": 1}))
    server.answer("GET", "/v1/events", Reply(stream=[ended(8), b"id: 9\n\n"]))
    told = hal(server.path, "watch", "12", "--after", "7", "--json")
    (line,) = [json.loads(line) for line in told.out.splitlines()]
    assert (line["sequence"], line["event"], line["text"]) == (8, "JobEnded", "job 12 ended: cancelled by ada")
    assert line["data"]["elements"] == "0"
    assert server.requests[-1].query == {"after": "7", "until": "9", "job_id": "12"}
    assert "job 12: CANCELLED" in hal(server.path, "watch", "12").out


def test_all_of_mine_until_ctrl_c_which_says_where_to_go_on(server: ScriptedServer):
    def stream(request: Request) -> Reply:
        return Reply(stream=[STARTED] if request.query["after"] == "6" else [b": heartbeat\nid: 8\n\n"])

    server.answer("GET", "/v1/events", stream)
    server.answer("GET", "/v1/jobs/12", view(6, array="0-9"))
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *COMMAND, "watch"],  # a test in the background may have it ignored
        env=environment(server.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert b"until Ctrl-C" in process.stdout.readline()
    assert b"job 12_0 runs on n1" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, notes = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "user" in server.requests[1].query
    assert b"Traceback" not in notes


def test_what_cannot_be_watched(server: ScriptedServer):
    assert hal(server.path, "watch", "12", "--all").code == 2
    assert "write 12" in hal(server.path, "watch", "12_3").err
    server.answer("GET", "/v1/jobs/12", error(404, "not_found", "no job 12"))
    missing = hal(server.path, "watch", "12")
    assert (missing.code, "hal events --job 12" in missing.err) == (1, True)
