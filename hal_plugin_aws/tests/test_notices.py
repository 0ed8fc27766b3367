"""Notices of EC2's metadata service, over real HTTP."""

from __future__ import annotations

import pytest

from hal_core.errors import InvalidInput, Unavailable
from hal_core.plugins import Plugins
from tests.support.metadata_service import INTERRUPTION, MetadataService
from tests.support.ports import free_port

PLUGINS = Plugins.load({})


@pytest.fixture
def service():
    with MetadataService() as service:
        yield service


def source_of(endpoint):
    return PLUGINS.notices("aws", {"endpoint": endpoint})


async def test_most_of_the_time_there_is_nothing_to_say(service):
    source = source_of(service.endpoint)
    assert await source.look() is None
    assert await source.look() is None
    assert (service.token_count, service.refused_count) == (1, 0), "one token is good for many questions"


async def test_an_interruption_is_told_with_its_time(service):
    source = source_of(service.endpoint)
    service.said[INTERRUPTION] = {"action": "terminate", "time": "2026-11-05T08:22:00Z"}
    notice = await source.look()
    assert notice.until_s == 1793866920
    assert notice.detail == "AWS takes this spot instance back (terminate at 2026-11-05T08:22:00Z)"
    assert await source.look() == notice, "said again it is the same"


async def test_a_recommendation_has_no_time_and_an_interruption_is_more_pressing(service):
    source = source_of(service.endpoint)
    service.recommend()
    notice = await source.look()
    assert notice.until_s is None
    assert "likely to take this spot instance back" in notice.detail
    service.interrupt(120)
    assert (await source.look()).until_s is not None


async def test_a_token_that_is_not_taken_any_more_is_made_anew(service):
    source = source_of(service.endpoint)
    await source.look()
    service.tokens.clear()
    service.interrupt(120)
    assert await source.look() is not None
    assert service.token_count == 2


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"action": "stop", "time": "soon"}, "names the time 'soon'"),
        ([1], "what is no object"),
        ("<html>", "what is no object"),
    ],
)
async def test_what_makes_no_sense_is_an_error_and_no_notice(service, said, text):
    service.said[INTERRUPTION] = said
    with pytest.raises(Unavailable, match=text):
        await source_of(service.endpoint).look()


async def test_nobody_answers():
    with pytest.raises(Unavailable, match="the metadata service: ConnectError"):
        await source_of(f"http://127.0.0.1:{free_port()}").look()


def test_unknown_options_are_refused():
    with pytest.raises(InvalidInput, match="did you mean 'endpoint'"):
        PLUGINS.notices("aws", {"endpont": "x"})
