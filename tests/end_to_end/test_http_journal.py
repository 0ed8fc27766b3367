"""History and the event stream over a real journal on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import jsonschema
import trio

from hal_core.kernel.journal import Journal
from hal_core.models.event import Event
from hal_core.models.job import End, EndKind, JobId
from tests.support.http_client import request_bytes
from tests.support.rest_api import serving_api
from tests.support.rest_kernel import CLUSTER, RestKernel


async def test_history_is_paged_and_filtered(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    async with serving_api(tmp_path / "s", RestKernel(journal)) as api:  # type: ignore[arg-type]
        for number in range(7):
            job_id = await api.submit(options=[["job-name", f"j{number % 2}"]])
            api.kernel.now_s += 10
            api.kernel.plan()
            api.kernel.end(job_id, 0, End(EndKind.EXITED, exit_code=number % 3))
        pages, target = [], "/v1/history?limit=3"
        while target:
            page = (await api.get(target)).json()
            pages.append([entry["job_id"] for entry in page["entries"]])
            target = page["next_cursor"] and f"/v1/history?limit=3&cursor={page['next_cursor']}"
        assert pages == [[7, 6, 5], [4, 3, 2], [1]]
        for query, expected in [
            ("name=j1", [6, 4, 2]),
            ("state=FAILED", [6, 5, 3, 2]),
            ("state=FAILED,COMPLETED&order=oldest&limit=2", [1, 2]),
            ("job_id=3", [3]),
            ("user=bob", []),
            ("since_time_s=1031&until_time_s=1051", [4, 3]),
            ("partition=main&limit=1", [7]),
        ]:
            found = (await api.get(f"/v1/history?{query}")).json()
            assert [entry["job_id"] for entry in found["entries"]] == expected, query
        document = (await api.get("/v1/openapi.json")).json()
        content = document["paths"]["/v1/history"]["get"]["responses"]["200"]["content"]["application/json"]
        answer = (await api.get("/v1/history")).json()
        jsonschema.Draft202012Validator(content["schema"] | {"components": document["components"]}).validate(answer)
        assert (await api.get("/v1/history?cursor=gahzZXF1ZW5jZc0D6A==")).status == 422
    journal.close()


class Watched:
    """A journal, and of which jobs it was asked as of those that are over."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.over: dict[int, bool] = {}

    def events_of(self, job_id: JobId, is_over: bool = False) -> list[Event]:
        self.over[job_id] = is_over
        return self._journal.events_of(job_id, is_over)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


async def test_what_ends_cost_is_looked_for_no_farther_than_their_jobs_lasted(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    watched = Watched(journal)
    main, small = CLUSTER.partitions
    priced = attrs.evolve(CLUSTER, partitions=(attrs.evolve(main, money_per_cpu_hour=36.0), small))
    async with serving_api(tmp_path / "s", RestKernel(watched, priced)) as api:  # type: ignore[arg-type]
        over, going_on = await api.submit(), await api.submit(options=[["array", "0-1"]])
        api.kernel.plan()
        api.kernel.now_s += 10
        for job_id in (over, going_on):
            api.kernel.end(job_id, 0, End(EndKind.EXITED, exit_code=0))
        assert {entry["money"] for entry in (await api.get("/v1/history")).json()["entries"]} == {None}
        assert watched.over == {}
        entries = (await api.get("/v1/history?with=cost")).json()["entries"]
        assert [(each["job_id"], each["elements"], each["money"]) for each in entries] == [
            (going_on, "0", 0.1),
            (over, "0", 0.1),
        ]
        assert watched.over == {over: True, going_on: False}
    journal.close()


async def test_the_stream_reads_a_real_journal(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state")
    async with serving_api(tmp_path / "s", RestKernel(journal)) as api:  # type: ignore[arg-type]
        await api.submit()
        async with await api.connect() as client:
            await client.send(request_bytes("GET", "/v1/events?after=0"))
            text = b""
            with trio.fail_after(30):
                while b"event: JobSubmitted" not in text:
                    text += await client.stream.receive_some(65536)
            assert text.count(b"id: ") == api.kernel.durable_sequence
    journal.close()
