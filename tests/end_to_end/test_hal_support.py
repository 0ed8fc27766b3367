"""The real HAL of tests/support: it starts, runs jobs, can be struck and restarted, and is gone."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.hal import HalCluster
from tests.support.hal_connection import HalRefused
from tests.support.hal_services import DAEMON, HalServices
from tests.support.meter import Meter


def test_jobs_run_and_nothing_is_left_behind() -> None:
    with HalCluster(node_count=2, cpus=2) as hal:
        with Meter(hal.tree.pid) as meter:
            job_id = hal.submit("/bin/sh", "-c", "exit 3")
            assert hal.submit_bulk([["/bin/true"]] * 5) == 5
            hal.wait_until_done()
        assert hal.get(f"/v1/jobs/{job_id}")["end"]["exit_code"] == 3
        assert hal.counts()["COMPLETED"] == 5
        assert hal.run("run", "--", "hostname").stdout == f"{socket.gethostname()}\n"
        with pytest.raises(HalRefused, match="404"):
            hal.get("/v1/jobs/4711")
        members, directory = hal.tree.members(), hal.directory
    assert meter.cpu_s > 0
    assert not [member for member in members if Path(f"/proc/{member.pid}").exists()]
    assert not directory.exists()


def test_events_come_in_order_with_their_sequence() -> None:
    with HalCluster(cpus=1) as hal, hal.connect() as connection:
        job_id = hal.submit("/bin/true")
        kinds = []
        for sequence, kind, fields in connection.events(after=0):
            assert sequence > 0
            if fields.get("job_id") == job_id:
                kinds.append(kind)
            if kind == "JobEnded":
                break
    assert (kinds[0], kinds[-1]) == ("JobSubmitted", "JobEnded")


def test_state_is_kept_in_a_given_directory(tmp_path: Path) -> None:
    with HalCluster(base=tmp_path) as hal:
        job_id = hal.submit("/bin/true")
        hal.wait_until_done()
    with HalCluster(base=tmp_path) as hal:
        assert hal.get(f"/v1/jobs/{job_id}")["state"] == "COMPLETED"


def test_services_can_be_killed_and_started_again_while_a_job_runs() -> None:
    with HalServices(node_count=2, cpus=2) as hal:
        job_id = hal.submit("/bin/sleep", "3")
        hal.get(f"/v1/jobs/{job_id}?wait=started&timeout_s=60")
        for name in ("n1", "n2", DAEMON):
            hal.kill(name)
        for name in (DAEMON, "n1", "n2"):
            hal.start_service(name)
        hal.wait_until_ready()
        job = hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")
        assert (job["state"], job["attempt"]) == ("COMPLETED", 1)
