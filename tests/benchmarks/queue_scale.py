"""What long queues cost: an array of a million elements, and a hundred thousand separate jobs.

All nodes are drained while the queue is filled, so nothing starts; then they are resumed, and submissions are timed
while the daemon plans over the whole queue and starts jobs as fast as it can.
"""

from __future__ import annotations

import argparse
from functools import partial

from tests.benchmarks.common import Figures, milliseconds, parser_of, progress, run, spread_ms, timed
from tests.support.hal import BULK_MAX, HalCluster
from tests.support.hal_connection import HalConnection

MEGABYTE = 1e6


def measure(given: argparse.Namespace) -> Figures:
    with HalCluster(cpus=4) as hal:
        set_drained(hal, True)
        figures = million_array(hal, given.elements)
    with HalCluster(cpus=4) as hal:
        set_drained(hal, True)
        figures |= many_jobs(hal, given.jobs)
        figures |= submissions(hal, "waiting", given.count)
        set_drained(hal, False)
        ended = hal.counts().get("COMPLETED", 0)
        figures |= submissions(hal, "running", given.count)
        figures["running_ended_meanwhile_count"] = hal.counts().get("COMPLETED", 0) - ended
        figures["running_daemon_rss_mb"] = rss_mb(hal)
    return figures


def set_drained(hal: HalCluster, is_drained: bool) -> None:
    for node in hal.get("/v1/nodes")["nodes"]:
        if is_drained:
            hal.post(f"/v1/nodes/{node['name']}/drain", {"reason": "benchmark of the queue"})
        else:
            hal.post(f"/v1/nodes/{node['name']}/resume", {})


def rss_mb(hal: HalCluster) -> float:
    return round(hal.daemon().rss_bytes / MEGABYTE, 1)


def million_array(hal: HalCluster, count: int) -> Figures:
    progress(f"an array of {count} elements")
    hal.submit("/bin/true")
    list_first_page(hal)  # what the first of anything costs is not the array's
    before_mb = rss_mb(hal)
    submit_s = timed(lambda: hal.submit("/bin/true", options=[("array", f"0-{count - 1}")]))
    seconds = submit_s + timed(lambda: list_first_page(hal))
    [array] = [job for job in hal.get("/v1/jobs")["jobs"] if job["array"]]
    assert array["counts"] == {"PENDING": count}, array
    return {
        "array_element_count": count,
        "array_submit_and_list_s": round(seconds, 3),
        "array_daemon_rss_growth_mb": round(rss_mb(hal) - before_mb, 1),
    }


def list_first_page(hal: HalCluster) -> None:
    hal.get("/v1/jobs?limit=100")


def many_jobs(hal: HalCluster, count: int) -> Figures:
    progress(f"{count} separate jobs")
    before_mb = rss_mb(hal)
    commands = [["/bin/true", str(number)] for number in range(count)]
    seconds = timed(lambda: hal.submit_bulk(commands))
    assert hal.counts().get("PENDING") == count, hal.counts()
    pages = [timed(lambda: list_first_page(hal)) for _ in range(20)]
    command = [timed(lambda: hal.run("queue")) for _ in range(5)]
    return {
        "jobs_queued_count": count,
        "jobs_submit_s": round(seconds, 2),
        "jobs_per_bulk_request": min(BULK_MAX, count),
        "jobs_daemon_rss_before_mb": before_mb,
        "jobs_daemon_rss_mb": rss_mb(hal),
        "jobs_bytes_per_job": round((rss_mb(hal) - before_mb) * MEGABYTE / count),
        **spread_ms("first_page", pages),
        "hal_queue_command_ms": [milliseconds(each) for each in command],
    }


def submissions(hal: HalCluster, name: str, count: int) -> Figures:
    """Single submissions, one after the other, on a connection of their own."""
    progress(f"{count} submissions while jobs are {name}")

    def submit_one(connection: HalConnection, number: int) -> None:
        body = hal.body() | {"client_id": f"{name}-{number}", "command": ["/bin/true"]}
        connection.post("/v1/jobs", body)

    with hal.connect() as connection:
        return spread_ms(f"{name}_submit", [timed(partial(submit_one, connection, n)) for n in range(count)])


if __name__ == "__main__":
    parser = parser_of("queue_scale")
    parser.add_argument("--elements", type=int, default=1_000_000, help="of the array (default: 1000000)")
    parser.add_argument("--jobs", type=int, default=100_000, help="separate jobs (default: 100000)")
    parser.add_argument("--count", type=int, default=300, help="timed submissions in each phase (default: 300)")
    run(__doc__, measure, parser)
