"""What runs on a rented node cannot stand still: the node would be gone before it goes on."""

from __future__ import annotations

import pytest

from hal_core.errors import Refused
from hal_core.models.message import JobSelection, Suspend
from tests.support.pool_world import PoolWorld, pool_cluster


def test_what_runs_on_a_rented_node_is_not_suspended():
    world = PoolWorld(pool_cluster(rented=1))
    job_id = world.submit(walltime_s=3600.0, cpus_per_task=4)
    world.serve()
    world.settle()
    with pytest.raises(Refused, match=r"node \S+ is rented, and would be gone before the job goes on; `hal requeue 1`"):
        world.tell(Suspend(JobSelection(job_id), "root", frozenset({"metal"})))
