"""How long a person waits: for the cluster, for a command, for a job to start on an idle machine.

Commands are timed as whole processes, as a shell would see them, with an empty Python beside them. Submission to start
is counted from before the request was sent to the node's own clock at the start. With --peer also Slurm's commands.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from tests.benchmarks.common import Figures, milliseconds, parser_of, progress, run, spread_ms, timed
from tests.support.hal import HalCluster, hal_command
from tests.support.slurm import SlurmCluster
from tests.support.slurm_packages import why_impossible

START_COUNT = 5
WARM_UP_COUNT = 3


def measure(given: argparse.Namespace) -> Figures:
    figures: Figures = {"hal_command": " ".join(hal_command())}
    figures |= spread_ms("bare_python", [timed(bare_python) for _ in range(given.count)])
    progress(f"starting `hal dev` {START_COUNT} times")
    figures["hal_dev_ready_s"] = [round(start_once(), 3) for _ in range(START_COUNT)]
    figures["hal_dev_ready_median_s"] = statistics.median(figures["hal_dev_ready_s"])
    with HalCluster() as hal:
        figures |= commands(hal, given.count) | submission_to_start(hal, given.start_count)
    missing = why_impossible()
    if given.peer and missing:
        progress(f"no Slurm beside it: {missing}")
    elif given.peer:
        with SlurmCluster(node_count=1) as slurm:
            figures |= slurm_commands(slurm, given.count)
    return figures


def bare_python() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def start_once() -> float:
    with HalCluster() as hal:
        return hal.startup_s


def commands(hal: HalCluster, count: int) -> Figures:
    """Warm: each command ran a few times before."""

    def checked(*words: str) -> Callable[[], None]:
        def call() -> None:
            done = hal.run(*words)
            assert done.returncode == 0, f"hal {' '.join(words)}: exit code {done.returncode}\n{done.stderr}"

        return call

    figures: Figures = {}
    calls = {
        "hal_submit": checked("submit", "--output", "/dev/null", "--", "/bin/true"),
        "hal_run_hostname": checked("run", "--", "hostname"),
        "hal_queue": checked("queue"),
    }
    for name, call in calls.items():
        progress(f"{name}, {count} times")
        for _ in range(WARM_UP_COUNT):
            call()
        seconds = []
        for _ in range(count):
            hal.wait_until_done()
            seconds.append(timed(call))
        figures |= spread_ms(name, seconds)
    return figures


def submission_to_start(hal: HalCluster, count: int) -> Figures:
    """One job at a time. `from_answer` begins when the submission was answered, and may be negative."""
    progress(f"submission to start, {count} times")
    from_request, from_answer, requests = [], [], []
    for _ in range(count):
        request_time_s = time.time()
        job_id = hal.submit("/bin/true")
        answer_time_s = time.time()
        job = hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=30")
        assert job["state"] == "COMPLETED", job
        requests.append(answer_time_s - request_time_s)
        from_request.append(job["start_time_s"] - request_time_s)
        from_answer.append(job["start_time_s"] - answer_time_s)
    return (
        spread_ms("submit_request", requests)
        | spread_ms("submission_to_start", from_request)
        | spread_ms("answer_to_start", from_answer)
    )


def slurm_commands(slurm: SlurmCluster, count: int) -> Figures:
    """The same with `sbatch` and `srun`. Jobs write down when they start: Slurm itself knows whole seconds only."""
    slurm.run("srun", "true")
    progress(f"Slurm: sbatch and srun, {count} times each")
    figures = spread_ms("srun_hostname", [timed(lambda: slurm.run("srun", "hostname")) for _ in range(count)])
    sbatch, starts = [], []
    for number in range(count):
        output = slurm.work / f"start{number}"
        ended = slurm.count_of_ends()
        begin_time_s = time.time()
        sbatch.append(timed(partial(slurm.submit, "-o", str(output), "--wrap", "date +%s.%N")))
        slurm.wait_for_ends(ended + 1)
        starts.append(float(output.read_text()) - begin_time_s)
    figures["slurm_submission_to_start_p50_ms"] = milliseconds(statistics.median(starts))
    return spread_ms("sbatch", sbatch) | figures | {"load_after_slurm": round(os.getloadavg()[0], 2)}


if __name__ == "__main__":
    parser = parser_of("latency")
    parser.add_argument("--count", type=int, default=20, help="of each command (default: 20)")
    parser.add_argument("--start-count", type=int, default=200, help="submissions whose start is timed (default: 200)")
    parser.add_argument(
        "--peer", action=argparse.BooleanOptionalAction, default=False, help="also time Slurm's commands"
    )
    run(__doc__, measure, parser)
