"""Pools end to end: machines of the static cloud are real agents, and none is there before a job waits."""

from __future__ import annotations

from tests.support.hal import Json
from tests.support.hal_rented import HalRented

TIMEOUT_S = 60.0


def states(hal: HalRented) -> list[str]:
    return [each["state"] for each in hal.pool()["instances"]]


def names(events: list[Json]) -> set[str]:
    return {event["instance"] for event in events}


def test_a_burst_is_served_from_an_empty_pool_and_all_is_given_back_although_the_daemon_is_killed():
    with HalRented(rented=2) as hal:
        assert hal.pool()["instances"] == []
        hal.submit("/bin/true", options=[("array", "0-19"), ("time", "1")])
        hal.tree.until("a machine is asked for", lambda: bool(states(hal)), TIMEOUT_S, hal.watched)
        hal.kill("daemon")
        hal.start_service("daemon")
        hal.wait_until_ready()
        hal.wait_until_done(TIMEOUT_S)
        hal.tree.until("all is given back", lambda: not states(hal), TIMEOUT_S, hal.watched)

        assert hal.counts() == {"COMPLETED": 20}
        assert not hal.members("hal_core.cli agent"), "machines are left over"
        started = {each["instance"] for event in hal.events("InstancesStarted") for each in event["started"]}
        asked = sum(event["count"] for event in hal.events("InstancesRequested"))
        assert started == names(hal.events("InstanceJoined")) == names(hal.events("InstanceGone"))
        assert len(started) == asked <= 2
        assert hal.pool()["spent"] > 0.0
        assert hal.pool()["committed"] == 0.0
        assert {node["reason"] for node in hal.get("/v1/nodes")["nodes"]} == {"it is not rented now"}
