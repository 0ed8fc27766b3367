"""The event stream: complete, resumable at any sequence number, and silent about what is private."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from hal_core.kernel.journal import Journal
from hal_core.models.access import AccessChange
from hal_core.models.message import NoteAccess
from tests.support.http_client import Client, request_bytes
from tests.support.rest_api import ADA, ADMINISTRATOR, BOB, OPERATOR, Api, serving_api, until
from tests.support.rest_kernel import RestKernel


class Reader:
    """Reads a stream of events from a client's connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._text = ""

    async def open(self, target: str, headers: dict[str, str] | None = None) -> None:
        await self.client.send(request_bytes("GET", target, None, headers))
        while "\r\n\r\n" not in self._text:
            await self._more()
        head, _, self._text = self._text.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 ")
        assert "content-type: text/event-stream" in head

    async def _more(self) -> bool:
        data = await self.client.stream.receive_some(65536)
        self._text += bytes(data).decode()
        return bool(data)

    async def block(self) -> str:
        """The next event or comment. Chunks are whole blocks, so their frames are lines of their own."""
        while True:
            lines = self._text.split("\n")
            for at, line in enumerate(lines):
                is_frame = line.endswith("\r")
                if not is_frame and line == "" and at and at + 1 < len(lines):
                    block = [each for each in lines[:at] if not each.endswith("\r") and each]
                    self._text = "\n".join(lines[at + 1 :])
                    if block:
                        return "\n".join(block)
                    break
            else:
                if not await self._more():
                    return ""

    async def event(self) -> tuple[int, str, dict]:
        while (block := await self.block()).startswith(":"):
            pass
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        return int(fields["id"]), fields["event"], msgspec.json.decode(fields["data"])


async def read_events(api: Api, target: str, count: int, headers: dict[str, str] | None = None) -> list:
    with trio.fail_after(30):
        async with await api.connect(api.uid) as client:
            reader = Reader(client)
            await reader.open(target, headers)
            return [await reader.event() for _ in range(count)]


async def test_a_stream_that_is_taken_up_again_misses_and_repeats_nothing(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        jobs = [await api.submit() for _ in range(5)]
        total = api.kernel.durable_sequence
        whole = await read_events(api, "/v1/events?after=0", total)
        assert [sequence for sequence, _, _ in whole] == list(range(1, total + 1))
        for cut in range(total):
            rest = await read_events(api, "/v1/events", total - cut, {"last-event-id": str(cut)})
            assert rest == whole[cut:]
        assert [data["job_id"] for _, kind, data in whole if kind == "JobSubmitted"] == jobs


async def test_events_come_when_they_are_durable_and_not_before(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api, await api.connect() as client:
        reader = Reader(client)
        await reader.open("/v1/events")
        assert await reader.block() == ": heartbeat"
        seen: list = []

        async def read() -> None:
            seen.append(await reader.event())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            api.kernel.is_held = True
            nursery.start_soon(api.submit)
            await until(lambda: len(api.kernel.state.jobs) == 1)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert seen == []
            api.kernel.sync()
        assert [(sequence, kind) for sequence, kind, _ in seen] == [(api.kernel.durable_sequence, "JobSubmitted")]


async def test_a_stream_with_an_end_ends_there_and_says_how_far_a_filter_has_come(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        jobs = [await api.submit() for _ in range(600)]
        total = api.kernel.durable_sequence
        for target, kinds in (
            (f"/v1/events?after={total - 3}&until={total - 1}", [total - 2, total - 1]),
            (f"/v1/events?after=0&job_id={jobs[-1]}&until={total - 1}", [500, total - 1]),
            (f"/v1/events?after={total}&until={total}", []),
        ):
            with trio.fail_after(60):
                async with await api.connect() as client:
                    reader = Reader(client)
                    await reader.open(target, {"connection": "close"})
                    blocks = []
                    while block := await reader.block():
                        blocks.append(block)
            numbers = [int(line[4:]) for block in blocks for line in block.split("\n") if line.startswith("id: ")]
            assert numbers == kinds, target


async def test_private_fields_go_to_the_owner_only_and_scripts_to_nobody(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        after = api.kernel.durable_sequence
        await api.submit(script="#!/bin/sh\nCANARY=1\n", environment=["SECRET=1"], options=[["array", "0-9"]])
        for uid, expected in ((ADA, ["SECRET=1"]), (BOB, None)):
            api.uid = uid
            ((_, _, data),) = await read_events(api, f"/v1/events?after={after}", 1)
            assert data["spec"]["environment"] == expected
            assert data["spec"]["array"]["indices"] == "0-9"
            assert "CANARY" not in str(data)
            assert "client_id" not in data


async def test_who_may_come_in_is_shown_to_operators_only(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        after = api.kernel.durable_sequence
        await api.kernel.ask(NoteAccess(AccessChange.NODE_ENROLLED, "n1", "root", "from 10.0.0.1:7"))
        await api.submit()
        for uid, first in ((ADA, "JobSubmitted"), (OPERATOR, "AccessChanged"), (ADMINISTRATOR, "AccessChanged")):
            api.uid = uid
            ((_, kind, data),) = await read_events(api, f"/v1/events?after={after}", 1)
            assert kind == first
        assert (data["change"], data["subject"], data["by"]) == ("node_enrolled", "n1", "root")


async def test_one_job_can_be_followed(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        await api.submit()
        job_id = await api.submit()
        api.kernel.plan()
        api.kernel.start(job_id)
        api.kernel.end(job_id)
        events = await read_events(api, f"/v1/events?after=0&job_id={job_id}", 4)
        assert [kind for _, kind, _ in events] == ["JobSubmitted", "JobPlaced", "PartStarted", "JobEnded"]
        assert events[3][2]["elements"] == "0"


async def test_the_jobs_of_some_users_can_be_followed_also_those_that_the_state_has_forgotten(tmp_path: Path) -> None:
    with closing(Journal.open(tmp_path / "journal")) as journal:
        await follow_some_users(tmp_path / "s", RestKernel(journal))


async def follow_some_users(socket: Path, kernel: RestKernel) -> None:
    async with serving_api(socket, kernel) as api:
        theirs = await api.submit(uid=BOB)
        ours = await api.submit(uid=ADA)
        after = api.kernel.durable_sequence
        for job_id in (theirs, ours):
            api.kernel.plan()
            api.kernel.start(job_id)
            api.kernel.end(job_id)
        user = api.kernel.state.find(ours).owner.user
        (sequence, _, first), *_ = await read_events(api, f"/v1/events?after=0&user={user}", 4)
        assert (sequence, first["job_id"]) == (after, ours)
        api.kernel.state.recent.clear()
        kinds = [kind for _, kind, _ in await read_events(api, f"/v1/events?after={after}&user=nobody,{user}", 3)]
        assert kinds == ["JobPlaced", "PartStarted", "JobEnded"]


async def test_a_filtered_stream_beside_busy_others_has_heartbeats(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving_api(tmp_path / "s") as api, await api.connect() as client:
        reader = Reader(client)
        await reader.open("/v1/events?job_id=999")
        assert await reader.block() == ": heartbeat"
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def keep_busy() -> None:
                while True:
                    await trio.sleep(1)
                    await api.kernel.ask(NoteAccess(AccessChange.NODE_ENROLLED, "n1", "root", ""))

            block = await reader.block()
            nursery.cancel_scope.cancel()
        assert block.startswith(": heartbeat\nid: "), "others' events put it off for ever"
        assert int(block.split(": ")[-1]) > 10


async def test_a_silent_stream_has_heartbeats(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with serving_api(tmp_path / "s") as api, await api.connect() as client:
        reader = Reader(client)
        await reader.open("/v1/events")
        start = trio.current_time()
        heartbeat = f": heartbeat\nid: {api.kernel.durable_sequence}"
        assert [await reader.block() for _ in range(4)] == [": heartbeat", heartbeat, heartbeat, heartbeat]
        assert 45 <= trio.current_time() - start < 47


async def test_the_stream_ends_properly_when_the_server_closes(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api, await api.connect() as client:
        await client.send(request_bytes("GET", "/v1/events"))
        await client.stream.receive_some(10)
        api.server.close()
        with trio.fail_after(30):
            assert (await client.rest()).endswith(b"0\r\n\r\n")


async def test_a_client_that_leaves_is_noticed(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        client = await api.connect()
        await client.send(request_bytes("GET", "/v1/events"))
        await client.stream.receive_some(10)
        assert api.server.connection_count == 1
        await client.stream.aclose()
        await until(lambda: api.server.connection_count == 0)


async def test_events_that_are_no_longer_kept_are_gone(tmp_path: Path) -> None:
    kernel = RestKernel()
    kernel.journal.first = 3
    async with serving_api(tmp_path / "s", kernel) as api:
        answer = await api.get("/v1/events?after=0")
        assert (answer.status, answer.kind) == (410, "gone")
        assert len(await read_events(api, "/v1/events?after=2", 1)) == 1


@pytest.mark.parametrize("value", ["x", "-1", "1.0", "99999999999999999999", "999"])
async def test_a_last_event_id_that_never_was_is_refused(tmp_path: Path, value: str) -> None:
    async with serving_api(tmp_path / "s") as api:
        answer = await api.request("GET", "/v1/events", headers={"last-event-id": value})
        assert (answer.status, answer.places) == (422, ["Last-Event-ID"])
