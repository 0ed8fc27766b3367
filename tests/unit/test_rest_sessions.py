"""What brokers say of their sessions: seen by all, summed in metrics, forgotten when they fall silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hal_core.errors import Unavailable
from hal_core.models.dataset import DataFile, Dataset
from hal_core.models.message import AddDataset, CopiesReported, NoteSession
from hal_core.models.node import NodeName
from hal_core.models.session import SessionChange, SessionChangeKind
from hal_core.rest.session_book import SESSIONS_OF_USER_MAX, SILENT_S_MAX, SessionBook, SessionReport
from hal_core.rest.session_watch import look
from tests.support.rest_api import ADA, BOB, Api, serving_api
from tests.support.rest_kernel import RestKernel

SESSION = "5f2c09ab41de"


def figures(**more: Any) -> dict[str, Any]:
    names = ("worker", "waiting", "running", "done", "failed", "dropped")
    return {f"{name}_count": at for at, name in enumerate(names)} | {"rate_per_s": 7.5, "job_ids": [3]} | more


async def test_what_a_broker_says_is_seen_until_it_falls_silent(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        told = await api.post(f"/v1/sessions/{SESSION}", figures(), uid=ADA)
        assert told.json() == {"session": SESSION, "again_s": 5.0, "heard_number": 0}
        busier = await api.post("/v1/sessions/0123456789ab", figures(rate_per_s=9.0), uid=BOB)
        assert busier.status == 200
        first, second = (await api.get("/v1/sessions", uid=BOB)).json()["sessions"]
        assert (first["user"], first["figures"]["rate_per_s"]) == ("bob", 9.0)
        assert second == {"session": SESSION, "user": "ada", "report_time_s": api.kernel.now_s, "figures": figures()}
        api.kernel.now_s += SILENT_S_MAX + 1
        assert (await api.get("/v1/sessions")).json() == {"sessions": []}


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        (SESSION, figures(worker_count=-1), "worker_count"),
        (SESSION, {"worker_count": 1}, "waiting_count"),
        (SESSION, figures(done=1), "done"),
        ("../../etc", figures(), ""),
        ("Zebra-session", figures(), "0-9 and a-f"),
    ],
)
async def test_what_is_no_report_is_refused(tmp_path: Path, name: str, body: dict[str, Any], text: str) -> None:
    async with serving_api(tmp_path / "s") as api:
        answer = await api.post(f"/v1/sessions/{name}", body)
        assert answer.status in (400, 404, 422)
        assert text in answer.body.decode()
        assert (await api.get("/v1/sessions")).json() == {"sessions": []}


def test_sessions_are_bounded_and_summed_for_prometheus() -> None:
    book = SessionBook(lambda: 0.0)
    report = SessionReport(**{**figures(), "job_ids": (3,)})
    for number in range(SESSIONS_OF_USER_MAX):
        book.tell("ada", f"{number:012x}", report)
    with pytest.raises(Unavailable, match="1000 sessions of ada"):
        book.tell("ada", "f" * 12, report)
    book.tell("ada", f"{0:012x}", report)
    book.tell("bob", f"{0:012x}", report)
    text = book.render().decode()
    assert "hal_sessions 1001\n" in text
    assert "hal_session_tasks_running 2002\n" in text
    assert "hal_session_tasks_per_second 7507.5\n" in text


def test_who_ended_or_fell_silent_makes_room_for_others_also_after_the_clock_was_set_back() -> None:
    now_s = 1000.0
    book = SessionBook(lambda: now_s)
    report = SessionReport(**{**figures(), "job_ids": (3,)})
    closed = SessionChange(number=1, time_s=0.0, kind=SessionChangeKind.CLOSED)
    for number in range(SESSIONS_OF_USER_MAX):
        book.tell("ada", f"{number:012x}", report)
    book.tell("ada", f"{0:012x}", SessionReport(**{**figures(), "job_ids": (3,)}, changes=(closed,)))
    book.tell("ada", "f" * 12, report)
    with pytest.raises(Unavailable, match="1000 sessions of ada"):
        book.tell("ada", "e" * 12, report)
    now_s += SILENT_S_MAX / 2
    book.tell("ada", f"{1:012x}", report)
    now_s += SILENT_S_MAX / 2 + 1
    assert book.known() == {("ada", f"{1:012x}")}
    for number in range(2, SESSIONS_OF_USER_MAX + 1):
        book.tell("ada", f"{number:012x}", report)
    now_s -= 3600.0
    book.tell("ada", "f" * 12, report)
    assert book.known() == {("ada", "f" * 12)}, "the others say that they are there in a moment"


async def test_a_look_goes_through_the_sessions_once_however_many_there_are(tmp_path: Path) -> None:
    kernel, asked = RestKernel(), []

    def now_s() -> float:
        asked.append(1)
        return kernel.now_s

    book = SessionBook(now_s)
    opened = SessionChange(number=1, time_s=0.0, kind=SessionChangeKind.OPENED)
    for number in range(20):
        kernel.tell(NoteSession("ada", f"{number:012x}", (opened,)))
    assert len(await look(kernel, book, frozenset())) == 20
    assert len(asked) == 1


def change(number: int, kind: str = "workers_joined", **more: Any) -> dict[str, Any]:
    return {"number": number, "time_s": 1000.0, "kind": kind, "worker_count": 2} | more


async def test_what_happens_in_its_life_is_on_record_once_and_streamed_to_whoever_asks(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        report = figures(changes=[change(1, "opened"), change(2)])
        for _ in range(2):  # The answer to the first was lost.
            told = await api.post(f"/v1/sessions/{SESSION}", report, uid=ADA)
            assert told.json()["heard_number"] == 2
        await api.post("/v1/sessions/0123456789ab", figures(changes=[change(1, "opened")]), uid=BOB)
        (seen,) = [each for each in (await api.get("/v1/sessions")).json()["sessions"] if each["user"] == "ada"]
        assert seen["figures"] == figures(), "who lists sessions wants figures"
        assert await events(api, f"session={SESSION}") == [("ada", 1, "opened"), ("ada", 2, "workers_joined")]
        assert await events(api, "user=bob") == [("bob", 1, "opened")]
        await api.submit(uid=ADA)
        both = await events(api, "user=ada")
        assert [number for _, number, _ in both] == [1, 2, 0], "her jobs, and her sessions"
        last = figures(changes=[change(3, "closed")])
        assert (await api.post(f"/v1/sessions/{SESSION}", last, uid=ADA)).json()["heard_number"] == 3
        assert [each["user"] for each in (await api.get("/v1/sessions")).json()["sessions"]] == ["bob"]


async def events(api: Api, query: str) -> list[tuple[str, int, str]]:
    """Whose, and of sessions' changes number and kind."""
    last = api.kernel.durable_sequence
    answer = await api.get(f"/v1/events?after=0&until={last}&{query}")
    data = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    return [
        (each["user"], each["change"]["number"], each["change"]["kind"])
        if "change" in each
        else (each["owner"]["user"], 0, "")
        for each in data
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([change(0)], "number"),
        ([change(1, "exploded")], "exploded"),
        ([change(1, detail="x" * 301)], "detail"),
        ([change(number) for number in range(1, 22)], "changes"),
        ([change(1, cuont=2)], "cuont"),
    ],
)
async def test_a_change_that_is_none_is_refused_whole(tmp_path: Path, changes: list[dict[str, Any]], text: str) -> None:
    async with serving_api(tmp_path / "s") as api:
        answer = await api.post(f"/v1/sessions/{SESSION}", figures(changes=changes))
        assert answer.status in (400, 422)
        assert text in answer.body.decode()
        assert not api.kernel.state.sessions.all()


async def test_who_is_silent_at_two_looks_is_lost(tmp_path: Path) -> None:
    kernel = RestKernel()
    book = SessionBook(lambda: kernel.now_s)
    kernel.tell(NoteSession("ada", SESSION, (SessionChange(number=1, time_s=0.0, kind=SessionChangeKind.OPENED),)))
    book.tell("ada", SESSION, SessionReport(**{**figures(), "job_ids": (3,)}))
    before = await look(kernel, book, frozenset())
    assert not before, "it said something a moment ago"
    kernel.now_s += SILENT_S_MAX + 1
    before = await look(kernel, book, before)
    assert [each.number for each in before] == [1]
    kernel.tell(NoteSession("ada", SESSION, (SessionChange(number=2, time_s=0.0, kind=SessionChangeKind.DRAINING),)))
    before = await look(kernel, book, before)
    assert kernel.state.sessions.find("ada", SESSION).end is None, "it has said more than at the look before"
    before = await look(kernel, book, before)
    assert kernel.state.sessions.find("ada", SESSION).end is SessionChangeKind.LOST
    assert not await look(kernel, book, before), "it is told once"


async def test_links_tell_where_the_copies_are(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        file = DataFile("a", 1000, "0" * 64)
        api.kernel.tell(AddDataset(Dataset("genome", "1", (file,), ("/data",), "ada")))
        for name in ("n1", "n2"):
            api.kernel.tell(CopiesReported(NodeName(name), tuple(api.kernel.state.catalogue.by_id)))
        found = (await api.get("/v1/links")).json()
        assert (found["dataset_count"], found["size_bytes"], found["is_partial"]) == (1, 1000, False)
        assert sum(each["copy_count"] for each in found["domains"]) == 2
        assert sum(each["size_bytes"] for each in found["domains"]) == 2000
        assert sum(each["node_count"] for each in found["domains"]) == len(api.kernel.state.table)
