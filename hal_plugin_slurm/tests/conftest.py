"""One real Slurm for all tests of the bridge, and both ways into it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from hal_plugin_slurm.command_line import ENVIRONMENT, CommandLine
from hal_plugin_slurm.rest import Rest
from hal_plugin_slurm.shell import Shell
from hal_plugin_slurm.tokens import Tokens
from hal_plugin_slurm.way import Way
from tests.support import slurm_packages
from tests.support.needs import need
from tests.support.slurm import SlurmCluster

ANSWER_TIMEOUT_S = 60.0
WAYS = ("rest", "commands")
SLURM_ROOT = "HAL_SLURM_ROOT"
"""A folder with another Debian, whose Slurm is tested instead of the machine's own (campaigns/slurm_trixie.py)."""


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    need(slurm_packages.why_impossible())
    settings = {
        "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=2",
        "JobAcctGatherFrequency": "1",  # it sees the memory of a job of two seconds
    }
    with SlurmCluster(
        node_count=4,
        cpus=8,
        gpus=2,
        has_accounting=True,
        has_rest=True,
        nodes_per_switch=2,
        root=os.environ.get(SLURM_ROOT, ""),
        settings=settings,
    ) as cluster:
        yield cluster


@asynccontextmanager
async def way_into(slurm: SlurmCluster, name: str) -> AsyncIterator[Way]:
    environment = {**ENVIRONMENT, **slurm.environment}
    if name == "commands":
        yield CommandLine(Shell("", environment, ANSWER_TIMEOUT_S), "root")
        return
    renewing = Shell("", slurm.environment, ANSWER_TIMEOUT_S)
    tokens = Tokens("", "scontrol token lifespan=3600", time.time, renewing)
    rest = Rest.connect(f"unix:{slurm.rest_socket}", tokens, ANSWER_TIMEOUT_S, "slurm")
    yield rest
    await rest.aclose()


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest, slurm: SlurmCluster) -> AsyncIterator[Way]:
    async with way_into(slurm, request.param) as opened:
        yield opened


@pytest.fixture
async def ways(slurm: SlurmCluster) -> AsyncIterator[dict[str, Way]]:
    """Both at once, for what is to be seen the same by either."""
    async with way_into(slurm, "rest") as rest, way_into(slurm, "commands") as commands:
        yield {"rest": rest, "commands": commands}
