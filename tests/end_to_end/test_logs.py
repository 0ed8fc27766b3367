"""What the nodes of a gang write, in files of their own and in one: real agents, and `hal logs` as a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.hal import HalCluster

GANG = [("nodes", "2"), ("ntasks", "2"), ("time", "2")]


@pytest.fixture(scope="module")
def hal() -> Iterator[HalCluster]:
    with HalCluster(node_count=2, cpus=2) as running:
        yield running


def test_the_files_of_a_gangs_nodes_are_followed_side_by_side(hal: HalCluster) -> None:
    script = 'for i in 1 2 3; do echo "$i"; sleep 0.1; done; echo "rank $HAL_TASK_RANK" >&2'
    options = [*GANG, ("output", f"{hal.work}/100%%-%j-%N.out"), ("error", f"{hal.work}/%N.err")]
    job_id = hal.submit("/bin/sh", "-c", script, options=options)
    followed = hal.run("logs", "-f", str(job_id))
    assert (followed.returncode, followed.stderr) == (0, "")
    nodes = hal.get(f"/v1/jobs/{job_id}")["element"]["nodes"]
    first, second = (each["node"] for each in nodes)
    told = followed.stdout.splitlines()
    for node in (first, second):
        assert [line for line in told if line.startswith(node)] == [f"{node}: {number}" for number in (1, 2, 3)]
    assert hal.run("logs", "-e", str(job_id)).stdout == f"{first}: rank 0\n{second}: rank 1\n"
    paths = hal.run("logs", "--path", str(job_id)).stdout.splitlines()
    assert paths == [f"{hal.work}/100%-{job_id}-{node}.out" for node in (first, second)]


def test_a_file_that_the_nodes_of_a_gang_share_has_what_all_wrote(hal: HalCluster) -> None:
    """Only the first of them empties it, so what that wrote is there whenever the other one began."""
    (hal.work / "shared.out").write_text("of an earlier job\n")
    options = [*GANG, ("output", f"{hal.work}/shared.out")]
    job_id = hal.submit("/bin/sh", "-c", 'echo "rank $HAL_TASK_RANK"', options=options)
    assert hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
    assert "rank 0" in hal.run("logs", "-f", str(job_id)).stdout.splitlines()
    assert "of an earlier job" not in (hal.work / "shared.out").read_text()


def test_elements_of_an_array_with_the_jobs_id_in_their_files_are_found(hal: HalCluster) -> None:
    """`%j` is 12_3 for an element of an array."""
    options = [("array", "0-1"), ("time", "1"), ("output", f"{hal.work}/%j.out"), ("job-name", "a/b")]
    job_id = hal.submit("/bin/sh", "-c", 'echo "element $HAL_ARRAY_INDEX"', options=options)
    assert hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
    for index in (0, 1):
        assert hal.run("logs", f"{job_id}_{index}").stdout == f"element {index}\n"
