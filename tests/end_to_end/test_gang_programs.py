"""Programs that run on several nodes at once find one another: MPI, and a rendezvous as torchrun's is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support import hosts
from tests.support.hal import CHECKOUT
from tests.support.hal_hosts import HalHosts
from tests.support.needs import need
from tests.support.slurm_packages import install

pytestmark = pytest.mark.root

RING = r"""
#include <mpi.h>
#include <stdio.h>
int main(int argc, char **argv) {
    int rank, size, sum;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    FILE *addresses = popen("ip -4 -o addr show lan | grep -o '10[.]97[.][0-9.]*' | head -1", "r");
    char address[64] = "";
    if (!fgets(address, sizeof address, addresses)) return 1;
    printf("rank %d of %d, sum %d, at %s", rank, size, sum, address);
    return MPI_Finalize();
}
"""

MEETING = r"""
import os, socket
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
where = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    with socket.create_server(where) as server:
        met = [server.accept()[0] for _ in range(size - 1)]
        total = sum(int(each.recv(16)) for each in met)
        for each in met:
            each.sendall(str(total).encode())
else:
    while True:
        try:
            met = socket.create_connection(where, 1)
            break
        except OSError:
            continue
    met.sendall(str(rank).encode())
    total = int(met.recv(16))
print(f"rank {rank} of {size}: {total}")
"""


@pytest.fixture(scope="module")
def hal() -> Iterator[HalHosts]:
    need(hosts.missing())
    with HalHosts(node_count=2, cpus=2) as running:
        yield running


def test_an_mpi_program_runs_on_two_hosts(hal: HalHosts) -> None:
    install(["mpich", "libmpich-dev", "gcc"])
    hal.begin_anew()
    (hal.work / "ring.c").write_text(RING)
    subprocess.run(["mpicc", "-o", hal.work / "ring", hal.work / "ring.c"], check=True)
    script = (CHECKOUT / "docs" / "how-to" / "mpi.sh").read_text()
    body = hal.body([("nodes", "2"), ("ntasks", "4"), ("time", "2"), ("output", f"{hal.work}/out.%N")])
    body |= {"client_id": "mpi", "script": script, "script_name": "mpi.sh", "arguments": ["./ring"]}
    job_id = hal.post("/v1/jobs", body)["job_id"]
    hal.wait_until_done()
    text = (hal.work / "out.n1").read_text()
    assert hal.get(f"/v1/jobs/{job_id}")["state"] == "COMPLETED", text + (hal.work / "out.n2").read_text()
    lines = sorted(line for line in text.splitlines() if line.startswith("rank "))
    where = [hal.hosts.address(2 + rank % 2) for rank in range(4)]
    assert lines == [f"rank {rank} of 4, sum 6, at {where[rank]}" for rank in range(4)]


def test_a_rendezvous_needs_nothing_but_the_environment(hal: HalHosts) -> None:
    hal.begin_anew()
    options = [("nodes", "2"), ("ntasks", "4"), ("time", "2"), ("output", f"{hal.work}/met.%N")]
    job_id = hal.submit("python3", "-c", MEETING, options=options)
    hal.wait_until_done()
    lines = sorted(line for node in hal.nodes for line in (hal.work / f"met.{node}").read_text().splitlines())
    assert lines == [f"rank {rank} of 4: 6" for rank in range(4)]
    assert hal.get(f"/v1/jobs/{job_id}")["state"] == "COMPLETED"
