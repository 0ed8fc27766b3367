"""The ledger of a pool: what it has and has spent follows from its events alone."""

from __future__ import annotations

from hal_core.models.cloud_pool import SpendLimit
from hal_core.models.pool_decision import InstanceState
from hal_core.models.pool_event import (
    InstanceGone,
    InstanceJoined,
    InstanceReleased,
    InstancesRefused,
    InstancesRequested,
    LeaseExtended,
)
from hal_core.rules.pool_ledger import PoolLedger

HOUR_S = 3600.0


def requested(time_s: float, token: str = "burst-1", count: int = 2) -> InstancesRequested:
    return InstancesRequested(time_s, "burst", token, "small", count, 1.0, 100.0, time_s + 2 * HOUR_S, "a job waits")


def test_an_instance_costs_from_its_request_until_it_is_gone():
    ledger = PoolLedger()
    ledger.apply(requested(0.0))
    ledger.apply(InstanceJoined(120.0, "burst", "burst-1-1"))
    ledger.apply(LeaseExtended(200.0, "burst", "burst-1-1", 5 * HOUR_S, "another job"))
    ledger.apply(InstanceReleased(HOUR_S, "burst", "burst-1-2", "idle"))
    ledger.apply(InstanceGone(HOUR_S + 36.0, "burst", "burst-1-2", "released"))

    (left,) = ledger.instances.values()
    assert (left.name, left.state, left.until_s) == ("burst-1-1", InstanceState.READY, 5 * HOUR_S)
    assert ledger.spent(2 * HOUR_S) == 2.0 + 1.01


def test_a_new_period_begins_with_what_is_there_still():
    ledger = PoolLedger(SpendLimit(100.0, 4 * HOUR_S))
    ledger.apply(requested(3 * HOUR_S))
    ledger.apply(InstanceGone(3.5 * HOUR_S, "burst", "burst-1-1", "interrupted"))

    assert ledger.spent(4 * HOUR_S - 1.0) > 1.4
    assert ledger.spent(5 * HOUR_S) == 1.0


def test_each_failure_in_a_row_closes_an_offer_for_twice_as_long():
    ledger = PoolLedger()
    waits_s = []
    for number in range(1, 9):
        waits_s.append(ledger.back_off_s("small"))
        ledger.apply(requested(0.0, f"burst-{number}"))
        ledger.apply(InstancesRefused(1.0, "burst", f"burst-{number}", "no capacity", 1.0 + waits_s[-1]))

    assert waits_s[:3] == [60.0, 120.0, 240.0]
    assert waits_s[-1] == 3600.0
    assert ledger.closed_until_s == {"small": 3601.0}
    assert (ledger.instances, ledger.spent(9 * HOUR_S), ledger.serial) == ({}, 0.0, 8)
