"""Paths and URLs as inputs, at the submission: measured, kept without a name, refused if nobody knows them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hal_core.kernel.conducts import Conducts
from hal_core.kernel.providers import Inputs
from hal_core.models.dataset import REFERENCE
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
