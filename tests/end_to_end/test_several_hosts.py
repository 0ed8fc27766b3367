"""The daemon on one host, agents on others, over TLS: links are cut and restored, keys misused, nodes lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.hal_hosts import HalHosts
from tests.support.needs import need

pytestmark = pytest.mark.root


@pytest.fixture
def hal():
    need(hosts.missing())
    with HalHosts(node_count=2, cpus=2) as running:
        yield running


def test_jobs_run_on_both_hosts_and_know_their_addresses(hal: HalHosts):
    job_id = hal.submit(
        "sh", "-c", "ip -4 -o addr show lan; env | sort",
        options=[("nodes", "2"), ("ntasks", "2"), ("output", f"{hal.work}/out.%N")],
    )  # fmt: skip
    hal.wait_until_done()
    assert hal.get(f"/v1/jobs/{job_id}")["state"] == "COMPLETED"
    for rank, node in enumerate(hal.nodes):
        text = (hal.work / f"out.{node}").read_text()
        assert hal.hosts.address(rank + 2) in text
        assert f"\nRANK={rank}\n" in text
        assert "\nWORLD_SIZE=2\n" in text
        assert f"\nMASTER_ADDR={hal.hosts.address(2)}\n" in text
