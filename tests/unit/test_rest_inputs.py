"""Paths and URLs as inputs, at the submission: measured, kept without a name, refused if nobody knows them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.providers import Inputs
from hal_core.kernel.step_watch import HeldUp
from hal_core.models.dataset import REFERENCE, Measured
from hal_core.parsing.values import INPUTS_MAX
from hal_core.rest.inputs import SLICE
from hal_locality_files.provider import FileLocality
from hal_locality_http.provider import HttpLocality
from tests.support.file_server import FileServer
from tests.support.rest_api import BOB, Api, serving_api
from tests.support.rest_kernel import CLUSTER


@pytest.fixture(name="server")
def running_server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


def inputs_of(server: FileServer, having_stores: frozenset[str] = frozenset({"metal"})) -> Inputs:
    files = FileLocality.from_options({"shared_prefixes": ["/shared"]})
    http = HttpLocality.from_options({"url_prefixes": [f"{server.url}/open"]})
    return Inputs({"files": files, "http": http}, Conducts(time.time), CLUSTER, having_stores)


@pytest.fixture(name="api")
async def running_api(server: FileServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving_api(tmp_path / "s", inputs=inputs_of(server)) as running:
        yield running


async def post(api: Api, *inputs: str, client_id: str = "c", uid: int | None = None):
    body = {"client_id": client_id, "command": ["/bin/true"], "working_directory": "/shared/ada"}
    return await api.post("/v1/jobs", body | {"options": [["inputs", ",".join(inputs)]]}, uid)


async def test_a_url_becomes_a_dataset_that_only_its_owner_knows_by_its_address(api: Api, server: FileServer) -> None:
    url = server.put("/open/reads", b"12345", headers={"ETag": '"1"'})
    answer = await post(api, url, "here/x")
    assert (answer.status, answer.json()["warnings"]) == (201, [])
    (spec,) = (record.spec for record in api.kernel.state.jobs.values())
    (dataset,) = api.kernel.state.catalogue.by_id.values()
    assert spec.inputs == (f"{REFERENCE}{dataset.id}", "here/x")
    assert (dataset.size_bytes, dataset.replicas, dataset.owner) == (5, (url,), "ada")
    assert (await api.get("/v1/jobs/1")).json()["inputs"] == [url, "here/x"]
    assert (await api.get("/v1/jobs/1", uid=BOB)).json()["inputs"] is None
    assert (await api.get("/v1/datasets")).json()["datasets"] == []
    assert (await api.get(f"/v1/datasets/{dataset.id}")).status == 404
    stream = await api.get(f"/v1/events?after=0&until={api.kernel.durable_sequence}", uid=BOB)
    assert url.encode() not in stream.body
    assert (await post(api, url, "here/x")).json()["job_id"] == 1, "the same submission is the same job"


async def test_the_newest_version_is_meant_and_an_older_job_keeps_its_own(api: Api, server: FileServer) -> None:
    url = server.put("/open/reads", b"12345", headers={"ETag": '"1"'})
    await post(api, url)
    server.put("/open/reads", b"123456", headers={"ETag": '"2"'})
    await post(api, url, client_id="d")
    sizes = [each.size_bytes for each in api.kernel.state.catalogue.by_id.values()]
    inputs = {record.spec.inputs for record in api.kernel.state.jobs.values()}
    assert (sizes, len(inputs)) == ([5, 6], 2)


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest/meta-data", "{url}/closed", "ftp://host/x", "/etc/shadow", "../../etc/shadow"],
)
async def test_what_nobody_recognises_is_refused_and_nobody_is_asked(
    api: Api, server: FileServer, address: str
) -> None:
    server.put("/closed", b"12345")
    answer = await post(api, address.format(url=server.url))
    assert (answer.status, answer.places) == (422, ["inputs"])
    assert b"no locality provider recognises the input" in answer.body
    assert server.asked == []


async def test_what_cannot_be_had_now_is_left_to_the_job_and_its_owner_is_told(api: Api, server: FileServer) -> None:
    answer = await post(api, f"{server.url}/open/absent")
    (warning,) = answer.json()["warnings"]
    assert warning["place"] == "inputs"
    assert "read it where it is" in warning["text"]
    assert api.kernel.state.jobs[1].spec.inputs == (f"{server.url}/open/absent",)


async def test_where_nodes_have_no_stores_inputs_stay_where_they_are(server: FileServer, tmp_path: Path) -> None:
    url = server.put("/open/reads", b"12345", headers={"ETag": '"1"'})
    async with serving_api(tmp_path / "s", inputs=inputs_of(server, frozenset())) as api:
        assert (await post(api, url)).status == 201
        assert api.kernel.state.jobs[1].spec.inputs == (url,)
        assert server.asked == []


async def test_a_job_that_waits_for_another_may_read_what_that_is_to_write(api: Api, server: FileServer) -> None:
    url = server.put("/open/reads", b"12345", headers={"ETag": '"1"'})
    first = await api.submit()
    body = {
        "client_id": "c",
        "command": ["/bin/true"],
        "options": [["inputs", url], ["dependency", f"afterok:{first}"]],
    }
    second = (await api.post("/v1/jobs", body)).json()["job_id"]
    assert api.kernel.state.jobs[second].spec.inputs == (url,)
    assert server.asked == []


async def test_a_bulk_asks_once_for_each_file(api: Api, server: FileServer) -> None:
    url = server.put("/open/reads", b"12345", headers={"ETag": '"1"'})
    common = {"client_id": "b", "command": ["/bin/true"], "options": [["inputs", url]]}
    answer = await api.post("/v1/jobs/bulk", {"common": common, "jobs": [{}] * 50})
    assert (answer.status, answer.json()["count"]) == (201, 50)
    assert [method for method, _, _ in server.asked] == ["HEAD"]
    assert len(api.kernel.state.catalogue.by_id) == 1


@pytest.mark.parametrize("is_bulk", [False, True])
@pytest.mark.parametrize("change", ["is away", "is there now", "is another one", "is nobody's"])
async def test_a_submission_that_is_repeated_is_the_same_job_whatever_servers_say_now(
    server: FileServer, tmp_path: Path, change: str, is_bulk: bool
) -> None:
    url = f"{server.url}/open/reads"
    localities = {"http": HttpLocality.from_options({"url_prefixes": [f"{server.url}/open"]})}
    inputs = Inputs(localities, Conducts(time.time), CLUSTER, frozenset({"metal"}))
    if change != "is there now":
        server.put("/open/reads", b"12345", headers={"ETag": '"1"'})
    job = {"command": ["/bin/true"], "options": [["inputs", f"{url},{url}/absent"]], "working_directory": "/"}

    async def tell(api: Api):
        if is_bulk:
            return await api.post("/v1/jobs/bulk", {"common": {"client_id": "c"} | job, "jobs": [{}] * 3})
        return await api.post("/v1/jobs", {"client_id": "c"} | job)

    async with serving_api(tmp_path / "s", inputs=inputs) as api:
        first = await tell(api)
        assert first.status == 201
        if change == "is nobody's":
            localities.clear()
        elif change == "is away":
            del server.files["/open/reads"]
        else:
            server.put("/open/reads", b"123456", headers={"ETag": '"2"'})
        asked = list(server.asked)
        again = await tell(api)
        key = "job_ids" if is_bulk else "job_id"
        assert (again.status, again.json()[key]) == (200, first.json()[key])
        assert server.asked == asked, "nobody was asked"


async def test_a_provider_that_fails_recognises_nothing_and_ends_nobody(tmp_path: Path) -> None:
    class Failing(FileLocality):
        error: BaseException

        def recognises(self, dataset: str) -> bool:
            raise self.error

    conducts = Conducts(time.time)
    failing = Failing.from_options({})
    async with serving_api(tmp_path / "s", inputs=Inputs({"failing": failing}, conducts, CLUSTER, frozenset())) as api:
        for number, error in enumerate((ValueError("mine"), HeldUp("too long"), SystemExit(1))):
            failing.error = error
            answer = await post(api, "/shared/reads", client_id=f"{number}")
            assert (answer.status, answer.places) == (422, ["inputs"])
            conduct = conducts.of("locality", "failing")
            assert conduct.failure_count > number
            assert conduct.last_problem == repr(error)


@pytest.mark.parametrize(
    "answers", [None, 7, ["5 bytes"], [Measured("5", "1")], [Measured(5, "\udc80")], [Measured(5, "1")] * 2]
)
async def test_a_provider_that_measures_garbage_is_named(answers: Any) -> None:
    class Odd(FileLocality):
        async def measure(self, addresses: Sequence[str]) -> Any:
            return answers

    conducts = Conducts(time.time)
    inputs = Inputs({"odd": Odd.from_options({"shared_prefixes": ["/shared"]})}, conducts, CLUSTER, frozenset())
    (told,) = (await inputs.measure(["/shared/reads"])).values()
    assert str(told) == "its locality provider failed"
    assert conducts.of("locality", "odd").failure_count == 1


async def test_a_large_bulk_looks_once_at_each_input_and_lets_others_have_a_turn(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []
    steps_seen = set()

    class Counting(Inputs):
        def address_of(self, text: str, working_directory: str) -> str:
            asked.append((text, working_directory))
            steps_seen.add(steps.count)
            return super().address_of(text, working_directory)

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    steps = Steps()
    texts = ",".join(f"/shared/{number}" for number in range(3 * SLICE))
    common = {"client_id": "b", "command": ["/bin/true"], "options": [["inputs", texts]], "working_directory": "/"}
    jobs = [{"command": ["/bin/echo", f"{number}"]} for number in range(20)]
    files = FileLocality.from_options({})
    counting = Counting({"files": files}, Conducts(time.time), CLUSTER, frozenset({"metal"}))
    async with serving_api(tmp_path / "s", inputs=counting) as api:
        trio.lowlevel.add_instrument(steps)
        answer = await api.post("/v1/jobs/bulk", {"common": common, "jobs": jobs})
        trio.lowlevel.remove_instrument(steps)
    assert answer.status == 201
    assert len(asked) == len(set(asked)) == 3 * SLICE
    assert len(steps_seen) >= 3


async def test_a_job_has_only_so_many_inputs(api: Api) -> None:
    answer = await post(api, *(f"x{number}" for number in range(INPUTS_MAX + 1)))
    assert (answer.status, answer.places) == (422, ["--inputs"])
    assert b"names 1001 inputs; at most 1000 are allowed" in answer.body
    assert (await post(api, *(f"x{number}" for number in range(INPUTS_MAX)))).status == 201
