"""How many jobs of /bin/true end in a second, from the first submission to the last journalled end.

HAL by bulk submission, and by one request for each job (from several clients, and from one); with --peer real Slurm
from Debian in the same run, in the way"""

from __future__ import annotations

import argparse
import uuid
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.common import Figures, cost, parser_of, progress, run
from tests.benchmarks.slurm_peer import CLIENT_COUNT, job_rates, throughput_cluster
from tests.support.hal import HalCluster
from tests.support.meter import Meter
from tests.support.slurm_packages import why_impossible

WARM_UP_COUNT = 50


def measure(given: argparse.Namespace) -> Figures:
    with HalCluster(node_count=given.nodes, cpus=given.cpus) as hal:
        figures = hal_rates(hal, given.count)
    missing = why_impossible()
    if given.peer and missing:
        progress(f"no Slurm beside it: {missing}")
    elif given.peer:
        with throughput_cluster() as slurm:
            figures |= job_rates(slurm, given.count)
        for way in ("bulk", "single"):
            figures[f"ratio_{way}"] = round(figures[f"hal_{way}_jobs_per_s"] / figures["slurm_jobs_per_s"], 2)
    return figures


def hal_rates(hal: HalCluster, count: int) -> Figures:
    run_bulk(hal, WARM_UP_COUNT)
    progress(f"HAL: {count} jobs in bulk")
    figures = cost("hal_bulk", run_bulk(hal, count), count)
    for name, client_count in (("hal_single", CLIENT_COUNT), ("hal_one_client", 1)):
        progress(f"HAL: {count} jobs, one request for each, {client_count} clients")
        figures |= cost(name, run_singly(hal, count, client_count), count)
    completed = hal.counts().get("COMPLETED", 0)
    assert completed == WARM_UP_COUNT + 3 * count, f"{completed} jobs completed; see {hal.log}"
    return {
        "job_count": count,
        "hal_single_client_count": CLIENT_COUNT,
        "hal_cpu_ms_per_job": figures["hal_bulk_cpu_ms_per_job"],
        "hal_nodes": hal.node_count,
        "hal_cpus_per_node": hal.cpus,
        **figures,
    }


def run_bulk(hal: HalCluster, count: int) -> Meter:
    with Meter(hal.tree.pid) as meter:
        hal.submit_bulk([["/bin/true"]] * count)
        hal.wait_until_done(timeout_s=count)
    return meter


def run_singly(hal: HalCluster, count: int, client_count: int) -> Meter:
    """One request for each job. Every client has a connection, and sends its next request when the last is answered."""

    def client(number: int) -> None:
        with hal.connect() as connection:
            for _ in range(number, count, client_count):
                body = hal.body() | {"client_id": str(uuid.uuid4()), "command": ["/bin/true"]}
                connection.post("/v1/jobs", body)

    with Meter(hal.tree.pid) as meter:
        with ThreadPoolExecutor(client_count) as pool:
            list(pool.map(client, range(client_count)))
        hal.wait_until_done(timeout_s=count)
    return meter


if __name__ == "__main__":
    parser = parser_of("job_rate")
    parser.add_argument("--count", type=int, default=1000, help="jobs in each way (default: 1000)")
    parser.add_argument("--nodes", type=int, default=2, help="nodes of HAL's cluster (default: 2)")
    parser.add_argument("--cpus", type=int, default=16, help="CPUs that each declares (default: 16)")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="run real Slurm beside it")
    run(__doc__, measure, parser)
