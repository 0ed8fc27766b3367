"""A replay with an engine that somebody is still writing."""

from __future__ import annotations

import pytest

from hal_core.errors import PluginError
from hal_core.models.plan import Plan, Snapshot
from hal_core.sim.expectations import CORRECTIONS, Perfect
from hal_core.sim.machine import Machine
from hal_core.sim.replay import EventOrder, Foresight, Replay
from tests.support.simple_traces import some_jobs


class Unfinished:
    def plan(self, snapshot: Snapshot) -> Plan:
        raise AttributeError("no attribute 'pendng'")


def test_the_bug_is_the_engines_and_not_hals() -> None:
    replay = Replay(Unfinished(), Machine.pool(16), some_jobs(1, 5), Foresight(Perfect(), CORRECTIONS["request"]))
    with pytest.raises(PluginError, match=r"engine Unfinished failed: AttributeError: no attribute 'pendng'"):
        list(replay.run(EventOrder.TOGETHER))
