"""Receipts of a real cluster: a job that was held and had to wait for another one, and the sums of both."""

from __future__ import annotations

import json

import pytest

from tests.support.hal_services import HalServices

PRICES = "    money_per_cpu_hour: 3600"
"""For each CPU-second 1, so that what a test's short job costs can be seen."""


def test_a_receipt_says_why_the_job_waited_and_what_it_cost() -> None:
    with HalServices(cpus=4, more_of_partition=PRICES) as hal:
        first = hal.submit("/bin/sleep", "0.3")
        second = hal.submit("/bin/sh", "-c", "exit 0", options=[("dependency", f"afterok:{first}"), ("hold", "")])
        assert hal.get(f"/v1/jobs/{first}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
        waiting = json.loads(hal.run("receipt", str(second), "--json").stdout)
        assert ([wait["cause"] for wait in waiting["waits"]], waiting["core_s"]) == (["held"], 0.0)
        hal.post(f"/v1/jobs/{second}/release", {})
        job = hal.get(f"/v1/jobs/{second}?wait=ended&timeout_s=60")
        receipt = json.loads(hal.run("receipt", str(second), "--json").stdout)
        waits = {wait["cause"]: wait["seconds"] for wait in receipt["waits"]}
        assert {"held", "launch"} <= waits.keys()
        assert sum(waits.values()) == receipt["wait_s"] == job["start_time_s"] - job["submit_time_s"]
        assert receipt["money"] == pytest.approx(receipt["core_s"], abs=1e-6)
        right = json.loads(hal.run("receipt", str(first), "--start", "--json").stdout)
        assert right["submit_time_s"] <= right["right_size"]["start_time_s"] <= right["start_time_s"]
        text = hal.run("receipt", str(first), "--start").stdout
        assert "there was room for that from" in text
        assert "CPU" in text
        assert "for the launch" in text
        assert f"{first} sleep, COMPLETED" in text
        ends = json.loads(hal.run("history", "--cost", "--json").stdout)["entries"]
        costs = {each["job_id"]: each["money"] for each in ends}
        assert costs == {each: hal.get(f"/v1/jobs/{each}/receipt")["money"] for each in (first, second)}
        assert "COST" in hal.run("history", "--cost").stdout.splitlines()[0]
        sums = json.loads(hal.run("receipt", "--by", "month", "--json").stdout)["receipts"]
        both = [hal.get(f"/v1/jobs/{job_id}/receipt") for job_id in (first, second)]
        assert [each["job_count"] for each in sums] == [2]
        assert sums[0]["core_s"] == sum(each["core_s"] for each in both)
        assert hal.run("receipt", "--by", "user").stdout.splitlines()[0].startswith("USER")
        assert "there is no job 99" in hal.run("receipt", "99").stderr
        assert "is not a month" in hal.run("receipt", "--month", "May").stderr
        assert hal.run("receipt", "1", "--by", "user").returncode == 2
        assert "name it" in hal.run("receipt", "--start").stderr
        pair = hal.submit("/bin/true", options=[("array", "0-1")])
        assert hal.get(f"/v1/jobs/{pair}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
        assert "s, over 2 elements" in hal.run("receipt", str(pair)).stdout
