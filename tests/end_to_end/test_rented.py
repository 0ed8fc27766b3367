"""Instances of moto's EC2 that really boot: what HAL gives them makes nodes of them, and jobs run there."""

from __future__ import annotations

import os

from tests.support.needs import need
from tests.support.rented import CANARY, RentedCluster, command_lines


def test_instances_become_nodes_run_jobs_and_are_gone_and_no_secret_is_anywhere():
    need("" if os.geteuid() == 0 else "machines in namespaces need root")
    with RentedCluster(count_max=2, cpus=1) as hal:
        made = hal.provision(2)
        hal.until_up(2)
        wanted = ("sh", "-c", "env; hostname; cat /proc/sys/kernel/random/boot_id")
        options = [("nodes", "2"), ("spread", "node"), ("time", "5"), ("output", str(hal.work / "%N.out"))]
        hal.submit(*wanted, options=options)
        hal.wait_until_done()
        assert hal.counts() == {"COMPLETED": 1}
        outputs = {each.stem: each.read_text() for each in hal.work.glob("*.out")}
        assert outputs.keys() == {"lab-small-0", "lab-small-1"}
        assert len({text.splitlines()[-1] for text in outputs.values()}) == 2, "each is a machine of its own"
        assert [text for text in (command_lines(), *outputs.values()) if CANARY in text or "hal-join-1." in text] == []
        hal.release(*(each.native_id for each in made))
        hal.until_gone()
        written = hal.everything_written()
        assert [path for path, content in written.items() if CANARY.encode() in content] == []
        assert [path for path, content in written.items() if b"hal-join-1." in content] == []
