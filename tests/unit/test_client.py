"""Client and AsyncClient: the same calls, the same answers, the errors of hal_core.errors."""

import threading

import pytest
import trio
from hypothesis import given, strategies as st

import hal_core.client as package
from hal_core.client import AsyncClient, Client, JobRequest
from hal_core.client.calls import as_hal_error, submit_many
from hal_core.client.transport import NoAnswer, Rejected
from hal_core.errors import Conflict, HalError, InvalidInput, NotFound, Problem, Refused, Unavailable
from hal_core.models.job import EndKind, JobState
from hal_core.models.node import NodeStatus
from hal_core.models.ranges import format_ranges
from tests.support.rest_bodies import ENTRY, NODE, STATUS, ended, job, job_details
from tests.support.scripted_server import Reply, ScriptedServer, error


@pytest.fixture
def server(tmp_path):
    with ScriptedServer(tmp_path / "hal.sock") as running:
        yield running


@pytest.fixture
def client(server):
    with Client(str(server.path)) as client:
        yield client


def answer_everything(server):
    """One scripted cluster for both clients."""
    pages = {None: ([job(), job(job_id=13, state="PENDING", reason={"kind": "held", "text": "held"})], "c1")}
    pages["c1"] = ([job(job_id=14)], None)

    def queue(request):
        jobs, cursor = pages[request.query.get("cursor")]
        return Reply({"jobs": jobs, "next_cursor": cursor, "counts": {}, "sequence": 1})

    waits = [job_details(state="RUNNING"), ended(12, "FAILED", kind="signalled", exit_code=None, signal=9)]
    server.answer("POST", "/v1/jobs", Reply({"job_id": 12, "warnings": []}, 201))
    server.answer("POST", "/v1/jobs/bulk", Reply({"job_ids": "20-21,17", "count": 3, "warnings": []}, 201))
    server.answer("GET", "/v1/jobs", queue)
    server.answer("GET", "/v1/jobs/12", lambda request: Reply(waits.pop(0) if request.query else job_details()))
    for action in ("cancel", "hold", "release", "requeue", "suspend", "resume"):
        server.answer("POST", f"/v1/jobs/12/{action}", {"job_id": 12, "count": 2})
    server.answer("GET", "/v1/nodes", {"nodes": [NODE], "next_cursor": None, "sequence": 1})
    server.answer("POST", "/v1/nodes/n1/drain", {"name": "n1", "is_drained": True})
    server.answer("POST", "/v1/nodes/n1/resume", {"name": "n1", "is_drained": False})
    server.answer("GET", "/v1/history", {"entries": [ENTRY], "next_cursor": None, "sequence": 1})
    server.answer("GET", "/v1/status", STATUS)
    lines = [b": heartbeat\n\nid: 4\nevent: JobEnded\n", b'data: {"job_id": 12}\n\nid: 7\nevent: Planned\ndata: {}\n\n']
    server.answer("GET", "/v1/events", lambda _: Reply(stream=lines))


def test_client(server, client):
    answer_everything(server)
    assert client.submit(["hostname"], nodes=2, cpus_per_task=4, exclusive=True, hold=False) == 12
    sent = server.requests[0].body
    assert sent["options"] == [["nodes", "2"], ["cpus-per-task", "4"], ["exclusive", ""]]
    assert sent["command"] == ["hostname"]
    assert len(sent["client_id"]) == 36
    assert client.submit_many([["true"], "#!/bin/sh\n", JobRequest(command=["x"], client_id="mine")]) == [20, 21, 17]
    bulk = server.requests[1].body
    assert [entry.get("client_id") for entry in bulk["jobs"]] == [None, None, "mine"]
    assert [(view.job_id, view.state) for view in client.queue(state="PENDING")] == [
        (12, JobState.RUNNING),
        (13, JobState.PENDING),
        (14, JobState.RUNNING),
    ]
    assert server.requests[3].query == {"limit": "1000", "state": "PENDING", "cursor": "c1"}
    assert client.job(12).output_path == "/home/ada/hal-12.out"
    view = client.wait(12)
    assert (view.has_ended, view.end.kind, view.end.signal) == (True, EndKind.SIGNALLED, 9)
    assert [client.cancel(12, "0-1"), client.hold(12), client.release(12), client.requeue(12)] == [2, 2, 2, 2]
    assert [client.suspend_job(12), client.resume_job(12, "0")] == [2, 2]
    assert [node.status for node in client.nodes()] == [NodeStatus.UP]
    client.drain("n1", "disk")
    client.resume("n1")
    assert [entry.cpu_s for entry in client.history(user="ada")] == [0.9]
    assert client.status()["cluster"] == "laptop"
    assert [(event.sequence, event.kind, event.fields) for event in client.events(after=3)] == [
        (4, "JobEnded", {"job_id": 12}),
        (7, "Planned", {}),
    ]


async def test_async_client(server):
    answer_everything(server)
    async with AsyncClient(str(server.path)) as client:
        assert await client.submit("#!/bin/sh\n", time="10") == 12
        assert server.requests[0].body["script"] == "#!/bin/sh\n"
        assert await client.submit_many([["true"], ["true"], ["true"]]) == [20, 21, 17]
        assert [view.job_id async for view in client.queue()] == [12, 13, 14]
        assert (await client.job(12)).name == "train"
        assert (await client.wait(12)).state is JobState.FAILED
        assert await client.cancel(12, "0-1") == 2
        assert [await client.hold(12), await client.release(12), await client.requeue(12)] == [2, 2, 2]
        assert [await client.suspend_job(12), await client.resume_job(12, "0")] == [2, 2]
        assert [node.name async for node in client.nodes()] == ["n1"]
        await client.drain("n1", "disk")
        await client.resume("n1")
        assert [entry.job_id async for entry in client.history()] == [12]
        assert (await client.status())["sequence"] == 3
        assert [event.sequence async for event in client.events(after=3)] == [4, 7]


async def test_tasks_of_an_async_client_do_not_wait_for_each_other(server):
    may_answer = threading.Event()
    server.answer("GET", "/v1/jobs/12", lambda _: Reply(ended(12) if may_answer.wait(10) else None))
    server.answer("GET", "/v1/status", STATUS)
    async with AsyncClient(str(server.path)) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.wait, 12)
        await client.status()
        may_answer.set()


async def test_an_async_call_can_be_cancelled(server):
    never = threading.Event()
    server.answer("GET", "/v1/jobs/12", lambda _: Reply({} if never.wait(10) else None))
    server.answer("GET", "/v1/status", STATUS)
    async with AsyncClient(str(server.path)) as client:
        with trio.move_on_after(0.05) as scope:
            await client.wait(12)
        assert scope.cancelled_caught
        assert (await client.status())["cluster"] == "laptop"
        never.set()


def test_wait_gives_up_when_told(server, client):
    server.answer("GET", "/v1/jobs/12", job_details())
    assert not client.wait(12, timeout_s=0).has_ended


@pytest.mark.parametrize(
    ("status", "kind", "wanted"),
    [
        (404, "not_found", NotFound),
        (410, "gone", NotFound),
        (409, "conflict", Conflict),
        (409, "refused", Refused),
        (403, "forbidden", Refused),
        (422, "invalid_input", InvalidInput),
        (413, "too_large", InvalidInput),
        (500, "internal", HalError),
    ],
)
async def test_errors_are_those_of_the_tree(server, status, kind, wanted):
    server.answer("GET", "/v1/jobs/12", error(status, kind, "no", [("a", "b")] if status == 422 else []))
    with Client(str(server.path)) as client, pytest.raises(wanted) as caught:
        client.job(12)
    assert type(caught.value) is wanted
    async with AsyncClient(str(server.path)) as asynchronous:
        with pytest.raises(wanted):
            await asynchronous.job(12)


def test_every_problem_is_kept():
    rejected = Rejected(422, {"kind": "invalid_input", "text": "x", "problems": [{"place": "a", "text": "b"}] * 2}, 1.0)
    found = as_hal_error(rejected)
    assert isinstance(found, InvalidInput)
    assert found.problems == (Problem("a", "b"), Problem("a", "b"))


def test_busy_says_when_to_try_again():
    found = as_hal_error(Rejected(503, {"kind": "unavailable", "text": "full"}, 7.0))
    assert isinstance(found, Unavailable)
    assert found.retry_after_s == 7.0
    assert isinstance(as_hal_error(NoAnswer("gone")), Unavailable)


async def test_nobody_there_is_unavailable(tmp_path):
    path = str(tmp_path / "hal.sock")
    with pytest.raises(Unavailable, match="hal dev"):
        Client(path).submit(["true"])
    with pytest.raises(Unavailable, match="hal dev"):
        await AsyncClient(path).submit(["true"])
    with pytest.raises(Unavailable, match="hal dev"):
        async for _ in AsyncClient(path).events():
            pass


async def test_a_lost_answer_is_asked_for_again_with_the_same_id(server):
    replies = [Reply(raw=b""), Reply({"job_id": 5, "warnings": []}, 201)] * 2
    server.answer("POST", "/v1/jobs", lambda _: replies.pop(0))
    with Client(str(server.path)) as client:
        assert client.submit(["true"]) == 5
    async with AsyncClient(str(server.path)) as asynchronous:
        assert await asynchronous.submit(["true"]) == 5
    ids = [request.body["client_id"] for request in server.requests]
    assert (ids[0], ids[2]) == (ids[1], ids[3])
    assert ids[0] != ids[2]


async def test_what_may_have_been_done_is_not_repeated(server):
    server.answer("POST", "/v1/jobs/12/requeue", Reply(raw=b""))
    with Client(str(server.path)) as client, pytest.raises(Unavailable):
        client.requeue(12)
    async with AsyncClient(str(server.path)) as asynchronous:
        with pytest.raises(Unavailable):
            await asynchronous.requeue(12)
    assert len(server.requests) == 2


def test_an_answer_of_another_version_is_told(server, client):
    server.answer("GET", "/v1/jobs/12", {"id": "12"})
    with pytest.raises(Unavailable, match="another version"):
        client.job(12)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_bulk_ids_come_in_the_order_of_the_requests(ids):
    text = ",".join(format_ranges(((number, number + 1),)) for number in ids)
    assert submit_many([JobRequest()]).decode(f'{{"job_ids": "{text}"}}'.encode()) == ids


def test_the_package_names_what_it_has():
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError):
        package.NoSuchThing  # noqa: B018
