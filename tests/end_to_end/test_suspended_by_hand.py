"""An operator lets a job stand still and go on, on a real node; and what stands still does so over a killed daemon."""

from __future__ import annotations

import os

from tests.support.hal_services import DAEMON, HalServices

TICKS = "while [ ! -e done ]; do echo >> ticks; sleep 0.02; done"
"""A job that shows in a file that it runs, until another file is there."""


def test_it_stands_still_over_a_killed_daemon_while_others_have_its_cpus_and_goes_on() -> None:
    with HalServices(cpus=1) as hal:
        ticks = hal.work / "ticks"
        still = hal.submit("/bin/sh", "-c", TICKS)
        hal.tree.until("it runs", lambda: ticks.exists() and ticks.stat().st_size > 0, 60, hal.watched)
        gate = hal.work / "gate"
        os.mkfifo(gate)
        other = hal.submit("/bin/cat", str(gate))
        assert hal.run("suspend", str(still)).stdout == f"job {still}: suspended\n"
        hal.get(f"/v1/jobs/{other}?wait=started&timeout_s=60")
        assert f"it goes on when an operator resumes it (`hal resume {still}`)" in hal.run("explain", str(still)).stdout
        hal.kill(DAEMON)
        hal.start_service(DAEMON)
        hal.wait_until_ready()
        assert ", by root" in hal.run("show", str(still)).stdout
        before = ticks.stat().st_size
        assert hal.run("resume", str(still)).stdout == f"job {still}: resumed; it goes on after job {other}\n"
        assert ticks.stat().st_size == before, "it ran while the other had its CPU"
        with gate.open("w"):
            pass
        hal.tree.until("it goes on", lambda: ticks.stat().st_size > before, 60, hal.watched)
        (hal.work / "done").touch()
        for job_id in (still, other):
            assert hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
