"""The catalogue of bad inputs (data/bad_inputs.yaml), each line through the entry point that a person would use."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hal_core.config.reading import parse_configuration
from hal_core.errors import InvalidInput
from hal_core.plugins import Plugins
from tests.support.cli import hal
from tests.support.hal import HalCluster
from tests.support.rest_api import Api, serving_api
from tests.support.small_configuration import SMALL

CATALOGUE = yaml.safe_load((Path(__file__).parent / "data" / "bad_inputs.yaml").read_text("utf-8"))
TEXT_MAX = 4000
CLIENT_S_MAX = 10.0


def lines(section: str) -> list[Any]:
    """Each with a name that tells which it is."""
    return [pytest.param(*line[1:], id=f"{line[0]} {ascii(line[1])[:50]} {number}")
            for number, line in enumerate(CATALOGUE[section])]  # fmt: skip


def test_the_catalogue_is_large_enough() -> None:
    own = [line for section in CATALOGUE.values() for line in section if line[0] == "own"]
    assert len(own) >= 100
    assert sum(len(section) for section in CATALOGUE.values()) - len(own) >= 68


@pytest.fixture
async def api(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Api]:
    """A server that must log no bug, change nothing and still answer when the test is over."""
    async with serving_api(tmp_path / "s") as running:
        sequence = running.kernel.state.sequence
        yield running
        assert running.kernel.state.sequence == sequence
        assert (await running.get("/v1/status")).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def refused(api: Api, word: str, **request: Any) -> None:
    body = {"client_id": "c", "working_directory": "/home/ada", **request}
    answer = await api.post("/v1/jobs", body)
    assert answer.status == 422, answer.body
    error = answer.json()["error"]
    assert word.lower() in error["text"].lower() + " ".join(answer.places).lower()
    assert 0 < len(error["text"]) < TEXT_MAX
    assert error["text"].replace("\n", "").isprintable(), "an answer that could be printed anywhere"


@pytest.mark.parametrize(("option", "value", "word"), lines("options"))
async def test_options(api: Api, option: str, value: str, word: str) -> None:
    await refused(api, word, command=["true"], options=[[option, value]])


@pytest.mark.parametrize(("script", "word"), lines("scripts"))
async def test_scripts(api: Api, script: str, word: str) -> None:
    await refused(api, word, script=script, script_name="job.sh")


@pytest.mark.parametrize("environment", [line[1] for line in CATALOGUE["environments"]])
async def test_environments(api: Api, environment: list[str]) -> None:
    await refused(api, "environment", command=["true"], environment=environment)


@pytest.mark.parametrize(("body", "status"), lines("bodies"))
async def test_bodies(api: Api, body: str, status: int) -> None:
    assert (await api.post("/v1/jobs", body.encode())).status == status


@pytest.mark.parametrize(("old", "new", "word"), lines("configurations"))
def test_configurations(old: str, new: str, word: str) -> None:
    plugins = Plugins.load()
    parse_configuration(SMALL, "c.yaml", lambda _: plugins.installed())
    with pytest.raises(InvalidInput) as caught:
        parse_configuration(SMALL.replace(old, new, 1), "c.yaml", lambda _: plugins.installed())
    assert word in str(caught.value)
    assert all(problem.place.startswith("c.yaml") for problem in caught.value.problems)


@pytest.fixture(scope="module")
def cluster() -> Iterator[HalCluster]:
    with HalCluster(node_count=1, cpus=2) as running:
        yield running


@pytest.mark.parametrize(("words", "code", "told"), lines("commands"))
def test_commands(cluster: HalCluster, words: list[str], code: int, told: str) -> None:
    before = cluster.get("/v1/status")["jobs"]
    done = hal(cluster.socket, *words)
    assert (done.code, done.out) == (code, ""), done
    assert told in done.err
    assert done.err.isprintable() or done.err.replace("\n", "").isprintable()
    assert cluster.get("/v1/status")["jobs"] == before
