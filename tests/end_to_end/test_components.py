"""Jobs of several components on real nodes: started together, told who they are, shown, ended together, replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.hal_services import HalServices

TELL = "echo $HAL_COMPONENT/$HAL_COMPONENT_NODE_RANK $HAL_TASK_RANK $HAL_CPUS_PER_TASK $HAL_COMPONENT_1_FIRST_TASK"


@pytest.fixture(scope="module")
def hal() -> Iterator[HalServices]:
    with HalServices(node_count=3, cpus=4) as running:
        yield running


def submit(hal: HalServices, *words: str) -> int:
    done = hal.run("submit", "--parsable", *words)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_each_component_has_its_nodes_and_its_own_ranks(hal: HalServices) -> None:
    whole = ("--spread=task", "--output=%j-%N", "--wrap", TELL)
    job_id = submit(hal, *whole, "-c3", ":", "-N2", "--ntasks=4", "--mem=1G")
    job = hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")
    assert job["state"] == "COMPLETED"
    assert (job["node_count"], job["task_count"], job["cpu_count"]) == (3, 5, 7)
    assert [(each["node_count"], each["cpus_per_task"]) for each in job["components"]] == [(1, 3), (2, 1)]
    told = sorted(line for path in hal.work.glob(f"{job_id}-n*") for line in path.read_text().splitlines())
    assert told == ["0/0 0 3 1", "1/0 1 1 1", "1/0 2 1 1", "1/1 3 1 1", "1/1 4 1 1"]
    assert "1 node, 1 task, 3 CPUs a task" in (shown := hal.run("show", str(job_id)).stdout)
    assert " + 2 nodes, 4 tasks, 1 CPU a task, 1.0 GiB a node" in shown
    receipt = json.loads(hal.run("receipt", str(job_id), "--json").stdout)
    assert (receipt["cpu_count"], receipt["right_size"]) == (7, None)
    launch_s = sum(wait["seconds"] for wait in receipt["waits"] if wait["cause"] == "launch")
    assert receipt["core_s"] >= 7 * (receipt["ran_s"] + launch_s) - 1e-6  # and what it takes to see that all have ended
    entry = json.loads(hal.run("history", "--json").stdout)["entries"][0]
    assert (entry["job_id"], entry["node_count"], entry["cpus"]) == (job_id, 3, 7)


def test_nothing_of_it_starts_while_one_component_has_no_place(hal: HalServices) -> None:
    first = hal.submit("/bin/sleep", "600", options=[("cpus-per-task", "4")])
    hal.get(f"/v1/jobs/{first}?wait=started&timeout_s=60")
    job_id = hal.submit("/bin/true", options=[("cpus-per-task", "3"), ("and", "nodes=2,cpus-per-task=2")])
    small = hal.submit("/bin/true")
    assert hal.get(f"/v1/jobs/{small}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
    assert hal.get(f"/v1/jobs/{job_id}")["state"] == "PENDING"
    why = hal.run("explain", str(job_id)).stdout
    assert "component 1: it asks for 2 free CPUs on 2 nodes" in why or "3 different nodes; 2 have room" in why, why
    hal.run("cancel", str(first))
    assert hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")["state"] == "COMPLETED"


def test_who_fails_ends_all_of_it(hal: HalServices) -> None:
    lines = ("#!/bin/sh", "#SBATCH --spread=node", "#SBATCH hetjob", "#SBATCH -N 2")
    (hal.work / "job.sh").write_text("\n".join([*lines, "[ $HAL_COMPONENT = 0 ] || exit 3", "sleep 600", ""]))
    job_id = submit(hal, "--output=/dev/null", "job.sh")
    job = hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")
    assert (job["state"], job["end"]["kind"], job["end"]["exit_code"]) == ("FAILED", "exited", 3)


def test_what_cannot_be_is_refused_in_one_line(hal: HalServices) -> None:
    done = hal.run("submit", "-N2", ":", "-N2", "--", "/bin/true")
    assert done.returncode != 0
    assert "need 4 different nodes at the same time" in done.stderr
    assert "leave out --array, or --and" in hal.run("submit", "--array=0-1", ":", "-N1", "--", "/bin/true").stderr


def test_the_journal_replays_exactly(hal: HalServices) -> None:
    hal.wait_until_done()
    done = hal.run("replay", str(hal.state), "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
