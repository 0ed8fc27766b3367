"""`hal demo`: a cluster of two pretended nodes on this machine, jobs of every kind on it, and what became of them.

It uses HAL as a person would: it starts `hal dev` as a process of its own and talks to it through the Python client.
Some jobs fail on purpose; what counts is that each ends as it should.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from hal_core.client import Client, JobRequest, JobView
from hal_core.errors import HalError, Unavailable
from hal_core.models.job import EndKind, JobState

Announce = Callable[[str], None]

READY_TIMEOUT_S = 30.0
JOB_TIMEOUT_S = 60.0
NODE_COUNT, CPUS = 2, 4


@attrs.frozen
class Case:
    """One job to show. `expected` is what it must end as: "COMPLETED", "FAILED, exit code 3" ..."""

    title: str
    expected: str
    job_id: int


def run_demo(arguments: Namespace, announce: Announce) -> int:
    """Exit code 0 if every job ended as it should."""
    with tempfile.TemporaryDirectory(prefix="hal-demo-") as folder:
        announce(f"Starting a cluster of {NODE_COUNT} pretended nodes with {CPUS} CPUs each on this machine ...")
        with _cluster(Path(folder)) as client:
            announce("It runs. Submitting jobs of every kind; some of them fail on purpose.\n")
            started_s = time.monotonic()
            is_good = _show(client, _submit_all(client, Path(folder)), announce)
            if not _limits_memory(client):
                announce("Left out: more memory than asked for. Nobody limits memory here; `hal doctor` says why.")
            _sum_up(client, time.monotonic() - started_s, announce)
            if arguments.keep:
                announce("\nThe cluster stays until Ctrl-C. In another terminal:")
                announce(f"  export HAL_SERVER={folder}/hal.sock; hal queue; hal nodes; hal history")
                _wait_for_interrupt()
    announce("The cluster is gone again; nothing was left behind." if is_good else "Something is wrong; see above.")
    return 0 if is_good else 1


@contextmanager
def _cluster(folder: Path) -> Iterator[Client]:
    """`hal dev` as a child process, until the block is left."""
    socket = folder / "hal.sock"
    command = [sys.executable, "-m", "hal_core.cli", "dev", "--socket", str(socket)]
    command += ["--nodes", str(NODE_COUNT), "--cpus", str(CPUS)]
    with (
        open(folder / "dev.log", "wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as service,
    ):
        try:
            with Client(str(socket)) as client:
                _wait_until_ready(client, service, folder / "dev.log")
                yield client
        finally:
            service.terminate()
            service.wait()


def _wait_until_ready(client: Client, service: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            if client.status()["nodes"].get("up") == NODE_COUNT:
                return
        except HalError:
            pass  # not listening yet
        if service.poll() is not None or time.monotonic() > deadline_s:
            raise Unavailable(f"the cluster did not start; it said:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return


def _submit_all(client: Client, folder: Path) -> list[Case]:
    """Submit the cases; those that take long come first, so that all of it is over soon."""
    cases: list[Case] = []

    def submit(title: str, expected: str, what: str | list[str], **options: str | int | bool) -> int:
        script, command = (what, ()) if isinstance(what, str) else ("", tuple(what))
        request = JobRequest(
            script=script,
            script_name="demo.sh" if script else "",
            command=command,
            options={name.replace("_", "-"): value for name, value in options.items()},
            working_directory=str(folder),
        )
        job_id = client.submit(request)
        cases.append(Case(title, expected, job_id))
        return job_id

    submit("time limit of one second", "TIMEOUT", ["sleep", "60"], time="1s", kill_grace="1s")
    sleeper = submit("cancelled while it runs", "CANCELLED", ["sleep", "60"])
    held = submit("held, then released", "COMPLETED", ["true"], hold=True)
    again = submit("requeued while it runs", "COMPLETED", "#!/bin/sh\n[ $HAL_ATTEMPT = 2 ] || sleep 60\n")
    first = submit("a script with #HAL lines", "COMPLETED", "#!/bin/sh\n#HAL --ntasks=2\necho hello from $HAL_JOB_ID\n")
    submit("a command", "COMPLETED", ["hostname"])
    submit("a script with #SBATCH lines", "COMPLETED", "#!/bin/bash\n#SBATCH -c 2 --mem=64M\necho $SLURM_JOB_ID\n")
    submit("exit code 3", "FAILED, exit code 3", ["sh", "-c", "exit 3"])
    submit("killed by a signal", "FAILED, signal 9", ["sh", "-c", "kill -9 $$"])
    submit("a program that does not exist", "FAILED, launch failed", ["/no/such/program"])
    submit("an array of 20, 4 at once", "COMPLETED", "#!/bin/sh\ntest $HAL_ARRAY_INDEX -ge 0\n", array="0-19%4")
    submit("a gang on two nodes", "COMPLETED", ["sh", "-c", 'test "$HAL_NODE_COUNT" = 2'], nodes=2, ntasks=4)
    submit("after the script went well", "COMPLETED", ["true"], dependency=f"afterok:{first}")
    submit(
        "only if the script had failed",
        "CANCELLED, dependency never satisfied",
        ["true"],
        dependency=f"afternotok:{first}",
    )
    submit("input data that is there", "COMPLETED", ["true"], inputs="/bin/sh")
    submit("input data that is missing", "FAILED, staging failed", ["true"], inputs="/no/such/data")
    hungry = "x = bytearray(512 << 20)"
    if _limits_memory(client):
        submit("more memory than asked for", "FAILED, out of memory", [sys.executable, "-c", hungry], mem="64M")
    client.release(held)
    _when_running(client, sleeper, client.cancel)
    _when_running(client, again, client.requeue)
    return cases


def _limits_memory(client: Client) -> bool:
    """Whether the nodes can hold jobs to their memory: they say what they cannot do."""
    return not any("memory" in text for node in client.nodes() for text in node.missing)


def _when_running(client: Client, job_id: int, act: Callable[[int], object]) -> None:
    deadline_s = time.monotonic() + JOB_TIMEOUT_S
    while client.job(job_id).state is not JobState.RUNNING and time.monotonic() < deadline_s:
        time.sleep(0.02)
    act(job_id)


def _show(client: Client, cases: list[Case], announce: Announce) -> bool:
    is_good = True
    announce(f"{'job':>4}  {'what':34}  {'how it ended':38}  as it should")
    for case in sorted(cases, key=lambda case: case.job_id):
        ended = _how_it_ended(client.wait(case.job_id, JOB_TIMEOUT_S))
        is_right = ended == case.expected
        is_good = is_good and is_right
        verdict = "yes" if is_right else f"NO: expected {case.expected}"
        announce(f"{case.job_id:>4}  {case.title:34}  {ended:38}  {verdict}")
    return is_good


def _how_it_ended(job: JobView) -> str:
    """`FAILED, exit code 3`: the state, and the cause if the state does not say it."""
    end, state = job.end, job.state.value
    if end is None or job.state in (JobState.COMPLETED, JobState.TIMEOUT) or end.kind is EndKind.CANCELLED:
        return state
    match end.kind:
        case EndKind.EXITED:
            return f"{state}, exit code {end.exit_code}"
        case EndKind.SIGNALLED:
            return f"{state}, signal {end.signal}"
        case kind:
            return f"{state}, {kind.value.replace('_', ' ')}"


def _sum_up(client: Client, elapsed_s: float, announce: Announce) -> None:
    end_count = sum(1 for _ in client.history())
    announce(f"\n{end_count} ends in {elapsed_s:.1f} s, every one of them in the journal before anybody was told.")
    program = "hal" if shutil.which("hal") else os.path.relpath(sys.argv[0])
    announce(
        f"Next: `{program} dev` starts such a cluster to play with; then `hal run -- hostname`, `hal submit job.sh`,"
    )
    announce(
        f"`hal queue`, `hal history`, `hal nodes`. `{program} --help` lists everything; docs/tutorial is the tour."
    )
