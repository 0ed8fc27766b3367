"""The same tasks on other systems. Runs with the Python of a peer's own environment: the standard library and the peer.

`python session_peers.py dask|ray|parsl|hyperqueue --count N --workers W` prints one JSON object; the last line counts,
since some peers print things of their own. Every peer is used as its documentation says, without dashboard and logs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WARM_UP_COUNT = 200

SERVE_HYPERQUEUE = """
import os, sys
from hyperqueue.cluster import LocalCluster, WorkerConfig
cluster = LocalCluster(sys.argv[1])
for _ in range(int(sys.argv[2])):
    cluster.start_worker(WorkerConfig(cores=1))
print("up", flush=True)
sys.stdin.read()
os._exit(0)
"""


def identity(item: Any) -> Any:
    return item


def dask(given: argparse.Namespace) -> dict[str, Any]:
    from distributed import Client

    folder = tempfile.mkdtemp()
    file = f"{folder}/scheduler.json"
    base = [sys.executable, "-m"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([*base, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                                 "--no-dashboard", "--no-show", "--scheduler-file", file], **quiet)]  # fmt: skip
    started += [
        subprocess.Popen([*base, "distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "1",
                          "--no-nanny", "--no-dashboard", "--local-directory", folder], **quiet)
        for _ in range(given.workers)
    ]  # fmt: skip
    try:
        client = Client(scheduler_file=file, timeout=120)
        client.wait_for_workers(given.workers)
        return tasks(lambda items: client.gather(client.map(identity, items, pure=False)), given)
    finally:
        for process in started:
            process.kill()


def ray(given: argparse.Namespace) -> dict[str, Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(num_cpus=given.workers, include_dashboard=False, log_to_driver=False)
    remote = ray.remote(identity)
    try:
        return tasks(lambda items: ray.get([remote.remote(item) for item in items]), given)
    finally:
        ray.shutdown()


def parsl(given: argparse.Namespace) -> dict[str, Any]:
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        address="127.0.0.1", loopback_address="127.0.0.1", max_workers_per_node=given.workers, cores_per_worker=1e-6,
        encrypted=False, provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )  # fmt: skip
    config = Config([executor], run_dir=tempfile.mkdtemp(), initialize_logging=False, usage_tracking=0, strategy="none")
    kernel = parsl.load(config)
    app = parsl.python_app(identity)
    try:
        return tasks(lambda items: [future.result() for future in [app(item) for item in items]], given)
    finally:
        kernel.cleanup()


def hyperqueue(given: argparse.Namespace) -> dict[str, Any]:
    """Processes: it has no tasks within one. Its client asks once a second, so the last task tells through a pipe."""
    import hyperqueue.client
    from hyperqueue import Client, Job

    hyperqueue.client.create_progress_callback = lambda: lambda jobs: None
    folder = tempfile.mkdtemp()
    words = [sys.executable, "-c", SERVE_HYPERQUEUE, folder, str(given.workers)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    server.stdout.readline()
    pipe = f"{folder}/pipe"
    os.mkfifo(pipe)
    client = Client(folder)

    def run(count: int) -> None:
        job = Job(max_fails=None)
        for _ in range(count - 1):
            job.program(["/bin/true"], stdout=None, stderr=None)
        job.program(["/bin/sh", "-c", f"echo >{pipe}"], stdout=None, stderr=None)
        client.submit(job)
        with open(pipe, "rb") as end:
            end.read()

    try:
        run(20)
        with clocked() as figures:
            run(given.command_count)
        return {"commands_per_s": given.command_count / figures["s"]}
    finally:
        server.kill()


def tasks(run: Callable[[Any], Any], given: argparse.Namespace) -> dict[str, Any]:
    """The rate of tasks that do nothing, the best order of each system, results gathered."""
    run(range(WARM_UP_COUNT))
    with clocked() as figures:
        results = run(range(given.count))
    assert list(results) == list(range(given.count))
    return {"tasks_per_s": given.count / figures["s"]}


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    figures: dict[str, float] = {}
    begin_s = time.perf_counter()
    yield figures
    figures["s"] = time.perf_counter() - begin_s


PEERS = {"dask": dask, "ray": ray, "parsl": parsl, "hyperqueue": hyperqueue}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--command-count", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    figures = PEERS[given.peer](given)
    print(json.dumps(figures), flush=True)
    os._exit(0)  # Some peers have threads that do not end.


if __name__ == "__main__":
    main()
