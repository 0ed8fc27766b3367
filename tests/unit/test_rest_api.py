"""Every route of the API, through the real listener on a real Unix socket, over a small real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema
import pytest
import trio

from hal_core.errors import Unavailable
from hal_core.models.job import End, EndKind
from hal_core.models.message import Cancel, Submit
from hal_core.models.plugin import Conduct, PluginListing, PluginStatus, Provided
from tests.support.rest_api import ADA, ADMINISTRATOR, BOB, OPERATOR, Api, serving_api, until
from tests.support.rest_kernel import RestKernel

SCRIPT = "#!/bin/sh\n#HAL --time=10\nhostname\n"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving_api(tmp_path / "s") as running:
        yield running


async def test_a_submission_is_answered_once_with_its_warnings_and_repeats_are_the_same_job(api: Api) -> None:
    body = {"client_id": "c1", "script": "#!/bin/sh\ntrue\n#HAL --time=10\n", "script_name": "a.sh"}
    first = await api.post("/v1/jobs", body)
    assert first.status == 201
    assert first.json()["job_id"] == 1
    assert [warning["place"] for warning in first.json()["warnings"]] == ["a.sh:3"]
    again = await api.post("/v1/jobs", body)
    assert (again.status, again.json()["job_id"]) == (200, 1)
    other = await api.post("/v1/jobs", body | {"arguments": ["x"]})
    assert (other.status, other.kind) == (409, "conflict")
    elsewhere = await api.post("/v1/jobs", body, uid=BOB)
    assert (elsewhere.status, elsewhere.json()["job_id"]) == (201, 2)


async def test_all_problems_of_a_submission_are_told_at_once(api: Api) -> None:
    answer = await api.post(
        "/v1/jobs",
        {"client_id": "c", "command": ["x"], "options": [["time", "abc"], ["nodes", "0"], ["colour", "red"]]},
    )
    assert (answer.status, answer.kind) == (422, "invalid_input")
    assert answer.places == ["--time", "--nodes", "--colour"]


async def test_a_job_belongs_to_the_connection_never_to_the_body(api: Api) -> None:
    for field in ("user", "uid", "owner", "as_user", "gid"):
        answer = await api.post("/v1/jobs", {"client_id": "c", "command": ["x"], field: 0})
        assert (answer.status, answer.places) == (422, [field])
    job_id = await api.submit(uid=BOB)
    assert (await api.get(f"/v1/jobs/{job_id}", uid=BOB)).json()["uid"] == BOB


async def test_a_user_without_a_name_is_turned_away(api: Api) -> None:
    assert (await api.get("/v1/status", uid=4711)).status == 403


async def test_unknown_fields_come_with_the_nearest_name(api: Api) -> None:
    answer = await api.post("/v1/jobs", {"client_id": "c", "comand": ["x"]})
    assert answer.status == 422
    assert "did you mean 'command'?" in answer.json()["error"]["text"]


async def test_bulk_takes_all_or_none_and_answers_ids_as_ranges(api: Api) -> None:
    common = {"client_id": "b", "working_directory": "/tmp", "options": [["time", "10"]], "environment": ["A=1"]}
    jobs = [
        {"command": ["/bin/true"]},
        {"command": ["/bin/true", "x"]},
        {"options": [["job-name", "odd"]], "command": ["y"]},
    ]
    answer = await api.post("/v1/jobs/bulk", {"common": common, "jobs": jobs})
    assert (answer.status, answer.json()) == (201, {"job_ids": "1-3", "count": 3, "warnings": []})
    assert (await api.post("/v1/jobs/bulk", {"common": common, "jobs": jobs})).status == 200
    more = await api.post("/v1/jobs/bulk", {"common": common, "jobs": [*jobs, {"command": ["z"]}, *jobs[:0]]})
    assert (more.status, more.json()["job_ids"]) == (201, "1-4")
    record = api.kernel.state.jobs[3]
    assert (record.spec.name, record.spec.walltime_s, record.client_id) == ("odd", 600.0, "b.2")
    assert api.kernel.state.jobs[2].spec.command == ("/bin/true", "x")
    bad = await api.post(
        "/v1/jobs/bulk", {"common": {"client_id": "c"}, "jobs": [{"command": ["x"]}, {"comand": []}, {}]}
    )
    assert bad.status == 422
    assert bad.places[0] == "jobs[1].comand"
    assert len(api.kernel.state.jobs) == 4


async def test_bulk_parses_what_its_entries_share_once(api: Api) -> None:
    jobs = [{"arguments": [str(number)]} for number in range(500)]
    answer = await api.post("/v1/jobs/bulk", {"common": {"client_id": "b", "script": SCRIPT}, "jobs": jobs})
    assert answer.json()["job_ids"] == "1-500"
    assert api.kernel.parse_count == 1
    assert api.kernel.state.jobs[500].spec.arguments == ("499",)
    assert sum(isinstance(message, Submit) for message in api.kernel.asked) == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"jobs": []}, "jobs"),
        ({"jobs": {}}, "jobs"),
        ({"jobs": [{}], "commn": {}}, "commn"),
        ({"jobs": [{"command": ["x"]}]}, "jobs[0].client_id"),
        ({"common": {"client_id": "c"}, "jobs": [{"command": "x"}]}, "jobs[0].command"),
        ({"common": {"client_id": "c"}, "jobs": [7]}, "jobs[0]"),
        ({"common": {"client_id": "c", "uid": 0}, "jobs": [{"command": ["x"]}]}, "common.uid"),
        ({"common": {"client_id": "c"}, "jobs": [{"command": ["x", "a\0"]}]}, "jobs[0].command[1]"),
        (
            {"common": {"client_id": "c", "options": [["wrap", "x"]]}, "jobs": [{"arguments": ["x"]}]},
            "jobs[0].arguments",
        ),
        ({"common": {"client_id": "c"}, "jobs": [{}] * 10_001}, "jobs"),
    ],
)
async def test_bulk_names_the_entry_that_is_wrong(api: Api, body: object, place: str) -> None:
    answer = await api.post("/v1/jobs/bulk", body)
    assert answer.status == 422
    assert place in [found.replace("common.jobs", "jobs") for found in answer.places]


async def test_the_queue_lists_running_then_pending_by_priority_then_held(api: Api) -> None:
    running = await api.submit(options=[["exclusive", ""], ["nodes", "3"]])
    low = await api.submit(options=[["nice", "5"], ["exclusive", ""], ["nodes", "3"]])
    held = await api.submit(options=[["hold", ""]])
    normal = await api.submit(options=[["exclusive", ""], ["nodes", "3"]], uid=BOB)
    waiting = await api.submit(options=[["dependency", f"afterok:{running}"]])
    api.kernel.plan()
    api.kernel.start(running)
    page = (await api.get("/v1/jobs")).json()
    assert [job["job_id"] for job in page["jobs"]] == [running, normal, low, held, waiting]
    assert page["jobs"][0]["state"] == "RUNNING"
    assert page["jobs"][0]["nodes"] == "n1,n2,n3"
    kinds = [job["reason"] and job["reason"]["kind"] for job in page["jobs"]]
    assert kinds == [None, "resources", "priority", "held", "dependency"]
    assert page["counts"] == {"PENDING": 4, "RUNNING": 1}
    assert page["next_cursor"] is None
    assert page["sequence"] == api.kernel.durable_sequence
    mine = (await api.get("/v1/jobs?user=bob&state=PENDING&partition=main&name=true")).json()
    assert [job["job_id"] for job in mine["jobs"]] == [normal]


async def test_pages_of_the_queue_follow_each_other_without_gaps(api: Api) -> None:
    ids = [await api.submit(options=[["nice", str(number % 3)]]) for number in range(7)]
    seen: list[int] = []
    target = "/v1/jobs?limit=3"
    while True:
        page = (await api.get(target)).json()
        seen += [job["job_id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        target = f"/v1/jobs?limit=3&cursor={page['next_cursor']}"
    assert sorted(seen) == ids
    assert seen == sorted(ids, key=lambda job_id: ((job_id - 1) % 3, job_id))


async def test_ended_jobs_are_listed_when_asked_for(api: Api) -> None:
    ids = [await api.submit() for _ in range(3)]
    api.kernel.plan()
    for job_id in ids[:2]:
        api.kernel.end(job_id)
    assert [job["job_id"] for job in (await api.get("/v1/jobs")).json()["jobs"]] == ids[2:]
    ended = (await api.get("/v1/jobs?state=COMPLETED,FAILED&limit=1")).json()
    assert [job["job_id"] for job in ended["jobs"]] == [ids[1]]
    rest = (await api.get(f"/v1/jobs?state=COMPLETED,FAILED&cursor={ended['next_cursor']}")).json()
    assert [(job["job_id"], job["end"]["exit_code"]) for job in rest["jobs"]] == [(ids[0], 0)]


async def test_private_fields_are_shown_to_the_owner_and_administrators_only(api: Api) -> None:
    job_id = await api.submit(script=SCRIPT, script_name="a.sh", arguments=["x"], environment=["SECRET=1"])
    own = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert own["environment"] == ["SECRET=1"]
    assert own["output_path"] == f"/home/ada/hal-{job_id}.out"
    assert (await api.get(f"/v1/jobs/{job_id}", uid=ADMINISTRATOR)).json()["arguments"] == ["x"]
    for uid in (BOB, OPERATOR):
        answer = await api.get(f"/v1/jobs/{job_id}", uid=uid)
        assert b"SECRET" not in answer.body
        seen = answer.json()
        assert seen["is_private_shown"] is False
        assert {seen[name] for name in ("working_directory", "output_path", "command")} == {None}
        assert (await api.get(f"/v1/jobs/{job_id}/script", uid=uid)).status == 404
    assert (await api.get(f"/v1/jobs/{job_id}/script")).json() == {"job_id": job_id, "script": SCRIPT}
    assert (await api.get(f"/v1/jobs/{await api.submit()}/script")).status == 404


async def test_waiting_for_a_start_and_an_end(api: Api) -> None:
    job_id = await api.submit()
    states: list[str] = []

    async def wait(what: str) -> None:
        states.append((await api.get(f"/v1/jobs/{job_id}?wait={what}&timeout_s=60")).json()["state"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "started")
        await trio.testing.wait_all_tasks_blocked()
        api.kernel.plan()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert states == []
        api.kernel.start(job_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "ended")
        await trio.testing.wait_all_tasks_blocked()
        api.kernel.end(job_id)
    assert states == ["RUNNING", "COMPLETED"]
    assert (await api.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=0")).json()["end"]["kind"] == "exited"
    assert (await api.get(f"/v1/jobs/{job_id}?timeout_s=5")).status == 422


async def test_a_wait_gives_the_present_state_when_its_time_is_over(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with serving_api(tmp_path / "s") as api:
        job_id = await api.submit()
        before = trio.current_time()
        answer = await api.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=20")
        assert answer.json()["state"] == "PENDING"
        assert 20 <= trio.current_time() - before < 21


async def test_elements_of_an_array_are_ranges_with_pages(api: Api) -> None:
    job_id = await api.submit(options=[["array", "0-999999%2"], ["output", "%A-%a.txt"]])
    api.kernel.plan()
    api.kernel.end(job_id, 0, End(EndKind.SIGNALLED, signal=9))
    api.kernel.start(job_id, 1)
    page = (await api.get(f"/v1/jobs/{job_id}/elements?limit=2")).json()
    assert [(each["indices"], each["state"]) for each in page["elements"]] == [("0", "FAILED"), ("1", "RUNNING")]
    assert page["elements"][0]["end"]["signal"] == 9
    assert page["elements"][1]["output_path"] == f"/home/ada/{job_id}-1.txt"
    rest = (await api.get(f"/v1/jobs/{job_id}/elements?limit=2&cursor={page['next_cursor']}")).json()
    assert [(each["indices"], each["count"]) for each in rest["elements"]] == [("2-999999", 999_998)]
    assert rest["next_cursor"] is None
    only = (await api.get(f"/v1/jobs/{job_id}/elements?state=RUNNING", uid=BOB)).json()["elements"]
    assert [(each["indices"], each["output_path"]) for each in only] == [("1", None)]
    summary = (await api.get("/v1/jobs")).json()["jobs"][0]
    assert summary["counts"] == {"PENDING": 999_998, "RUNNING": 1, "FAILED": 1}
    assert (summary["array"], summary["element_count"]) == ("0-999999%2", 1_000_000)


async def test_cancel_hold_release_requeue_and_priority(api: Api) -> None:
    job_id = await api.submit(options=[["array", "0-9"]])
    answers = [
        await api.post(f"/v1/jobs/{job_id}/hold", {}),
        await api.post(f"/v1/jobs/{job_id}/hold", {}),
        await api.post(f"/v1/jobs/{job_id}/release", {}),
        await api.post(f"/v1/jobs/{job_id}/cancel", {"indices": "1-3,9"}),
        await api.post(f"/v1/jobs/{job_id}/cancel", {"indices": "1-3,9"}),
        await api.post(f"/v1/jobs/{job_id}/requeue", {"indices": "9"}),
    ]
    assert [(answer.status, answer.json()["count"]) for answer in answers] == [
        (200, 10),
        (200, 10),
        (200, 10),
        (200, 4),
        (200, 0),
        (200, 1),
    ]
    assert Cancel in {type(message) for message in api.kernel.asked}
    lowered = await api.post(f"/v1/jobs/{job_id}/priority", {"priority": -7})
    assert lowered.json() == {"job_id": job_id, "priority": -7}
    assert (await api.post(f"/v1/jobs/{job_id}/priority", {"priority": 7})).kind == "forbidden"
    assert (await api.post(f"/v1/jobs/{job_id}/priority", {"priority": 7}, uid=OPERATOR)).status == 200
    for verb in ("cancel", "hold", "release", "requeue"):
        assert (await api.post(f"/v1/jobs/{job_id}/{verb}", {}, uid=BOB)).kind == "forbidden"
    assert (await api.post(f"/v1/jobs/{job_id}/hold", {"indices": "1"})).kind == "refused"
    assert (await api.post(f"/v1/jobs/{job_id}/cancel", {"indices": "77"})).status == 404
    assert (await api.post(f"/v1/jobs/{job_id}/cancel", {"indices": "1-"})).places == ["indices"]


async def test_a_user_cannot_release_what_an_operator_holds(api: Api) -> None:
    job_id = await api.submit()
    await api.post(f"/v1/jobs/{job_id}/hold", {}, uid=OPERATOR)
    assert (await api.post(f"/v1/jobs/{job_id}/release", {})).kind == "forbidden"
    assert (await api.post(f"/v1/jobs/{job_id}/release", {}, uid=ADMINISTRATOR)).status == 200


async def test_suspend_and_resume(api: Api) -> None:
    """The second job needs all that the first lends; so this one goes on when the second has ended."""
    whole = [["ntasks", "8"], ["nodelist", "n1"]]
    first, second = [await api.submit(options=whole) for _ in range(2)]
    api.kernel.plan()
    api.kernel.start(first)
    assert (await api.post(f"/v1/jobs/{first}/suspend", {})).kind == "forbidden"
    assert (await api.post(f"/v1/jobs/{second}/suspend", {}, uid=OPERATOR)).kind == "refused"
    answer = await api.post(f"/v1/jobs/{first}/suspend", {}, uid=OPERATOR)
    assert (answer.status, answer.json()) == (200, {"job_id": first, "count": 1})
    api.kernel.plan()
    element = (await api.get(f"/v1/jobs/{first}")).json()["element"]
    assert (element["state"], element["suspended_by"]) == ("SUSPENDED", "oper")
    assert element["suspend_time_s"] == api.kernel.now_s
    assert (await api.post(f"/v1/jobs/{first}/resume", {})).kind == "forbidden"
    answer = await api.post(f"/v1/jobs/{first}/resume", {}, uid=OPERATOR)
    assert answer.json() == {"job_id": first, "count": 1, "waits_for": [second]}
    api.kernel.end(second)
    api.kernel.plan()
    assert (await api.get(f"/v1/jobs/{first}")).json()["state"] == "RUNNING"
    await api.post(f"/v1/jobs/{first}/suspend", {}, uid=OPERATOR)
    answer = await api.post(f"/v1/jobs/{first}/resume", {"indices": None}, uid=ADMINISTRATOR)
    assert answer.json() == {"job_id": first, "count": 1, "waits_for": []}


async def test_a_finished_job_cannot_be_changed(api: Api) -> None:
    job_id = await api.submit()
    await api.post(f"/v1/jobs/{job_id}/cancel", {})
    assert (await api.post(f"/v1/jobs/{job_id}/priority", {"priority": -1})).status == 409
    assert (await api.post(f"/v1/jobs/{job_id}/hold", {})).status == 409


async def test_nodes_are_listed_shown_drained_and_resumed(api: Api) -> None:
    job_id = await api.submit(options=[["ntasks", "4"]])
    api.kernel.plan()
    page = (await api.get("/v1/nodes?limit=2")).json()
    assert [node["name"] for node in page["nodes"]] == ["n1", "n2"]
    rest = (await api.get(f"/v1/nodes?limit=2&cursor={page['next_cursor']}")).json()
    assert [(node["name"], node["partitions"]) for node in rest["nodes"]] == [("n3", ["main", "small"])]
    one = (await api.get("/v1/nodes/n1")).json()
    assert (one["cpu_count"], one["cpus_free"], one["gpus"]) == (8, 4, {"a100": 2})
    assert [(each["job_id"], each["user"], each["cpus"]) for each in one["allocations"]] == [(job_id, "ada", "0-3")]
    assert (await api.get("/v1/nodes/n9")).kind == "not_found"
    assert (await api.post("/v1/nodes/n1/drain", {"reason": "disk"})).kind == "forbidden"
    drained = await api.post("/v1/nodes/n1/drain", {"reason": "disk"}, uid=OPERATOR)
    assert drained.json() == {"name": "n1", "is_drained": True}
    found = (await api.get("/v1/nodes?status=drained")).json()["nodes"]
    assert [(node["name"], node["reason"], node["by"]) for node in found] == [("n1", "disk", "oper")]
    assert [node["name"] for node in (await api.get("/v1/nodes?partition=small&status=up")).json()["nodes"]] == ["n3"]
    assert (await api.post("/v1/nodes/n1/drain", {"reason": ""}, uid=OPERATOR)).status == 422
    assert (await api.post("/v1/nodes/n1/resume", {}, uid=OPERATOR)).json()["is_drained"] is False
    assert (await api.post("/v1/nodes/n9/resume", {}, uid=OPERATOR)).status == 404


async def test_what_a_plugin_did_wrong_is_told_to_those_who_operate_hal(tmp_path: Path) -> None:
    provides = (Provided("locality", "s3", "", Conduct(1, 0.5, 1, "https://bucket/data?signature=secret", 7.0)),)
    listing = PluginListing("aws", "m", "d", "1", PluginStatus.LOADED, provides=provides)
    kernel = RestKernel()
    async with serving_api(tmp_path / "s", kernel, plugins=lambda: (listing,)) as api:
        told = (await api.get("/v1/plugins")).json()["plugins"][0]["provides"][0]["conduct"]
        assert (told["failure_count"], told["last_problem"]) == (1, "")
        told = (await api.get("/v1/plugins", uid=OPERATOR)).json()["plugins"][0]["provides"][0]["conduct"]
        assert "signature" in told["last_problem"]


async def test_status_plugins_configuration_and_metrics(api: Api) -> None:
    await api.submit()
    status = (await api.get("/v1/status", uid=OPERATOR)).json()
    assert status["caller"] == {"user": "oper", "uid": OPERATOR, "role": "operator"}
    assert (status["nodes"], status["cpu_count"], status["jobs"]) == ({"up": 3}, 24, {"PENDING": 1})
    assert status["is_accepting"] is True
    assert (await api.get("/v1/plugins")).json()["plugins"][0]["status"] == "loaded"
    assert (await api.get("/v1/configuration")).json()["path"] == "/etc/hal.yaml"
    metrics = await api.get("/metrics")
    assert metrics.body == b"hal_jobs 1\n"
    assert metrics.headers["content-type"].startswith("text/plain")
    head = await api.request("HEAD", "/v1/status")
    assert (head.status, head.body) == (200, b"")


async def test_a_kernel_that_cannot_answers_503_with_retry_after(api: Api) -> None:
    api.kernel.fails_with = Unavailable("the disk is full", retry_after_s=4.2)
    answer = await api.post("/v1/jobs", {"client_id": "c", "command": ["x"]})
    assert (answer.status, answer.kind, answer.headers["retry-after"]) == (503, "unavailable", "5")


async def test_nothing_is_answered_that_is_not_on_disk(api: Api) -> None:
    api.kernel.is_held = True
    answers: list[int] = []

    async def ask(method: str, target: str, body: object) -> None:
        answers.append((await api.request(method, target, body)).status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "POST", "/v1/jobs", {"client_id": "c", "command": ["x"]})
        await until(lambda: len(api.kernel.state.jobs) == 1)
        for target in ("/v1/jobs", "/v1/jobs/1", "/v1/jobs/1/elements", "/v1/nodes", "/v1/status"):
            nursery.start_soon(ask, "GET", target, None)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert answers == []
        api.kernel.sync()
    assert sorted(answers) == [200] * 5 + [201]


async def test_openapi_describes_every_route_and_its_schemas_hold(api: Api) -> None:
    document = (await api.get("/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert {"/v1/jobs", "/v1/jobs/bulk", "/v1/events", "/v1/nodes/{name}/drain", "/metrics"} <= set(document["paths"])
    job_id = await api.submit(script=SCRIPT)
    for target, path in [
        ("/v1/jobs", "/v1/jobs"),
        (f"/v1/jobs/{job_id}", "/v1/jobs/{job_id}"),
        (f"/v1/jobs/{job_id}/elements", "/v1/jobs/{job_id}/elements"),
        ("/v1/nodes/n1", "/v1/nodes/{name}"),
        ("/v1/status", "/v1/status"),
        ("/v1/plugins", "/v1/plugins"),
        ("/v1/configuration", "/v1/configuration"),
        ("/v1/history", "/v1/history"),
    ]:
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        schema = content["schema"] | {"components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate((await api.get(target)).json())


async def test_the_kernel_may_forget_a_job_but_says_where_it_is(tmp_path: Path) -> None:
    kernel = RestKernel()
    async with serving_api(tmp_path / "s", kernel) as api:
        job_id = await api.submit()
        await api.post(f"/v1/jobs/{job_id}/cancel", {})
        kernel.state.recent.clear()
        answer = await api.get(f"/v1/jobs/{job_id}", uid=ADA)
        assert answer.status == 404
        assert f"/v1/history?job_id={job_id}" in answer.json()["error"]["text"]
