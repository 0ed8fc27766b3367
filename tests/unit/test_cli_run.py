"""`hal run` and `hal logs` as whole processes, against a scripted daemon that really runs the commands."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.cli import hal, start_hal
from tests.support.rest_bodies import ended
from tests.support.scripted_server import Reply, Request, ScriptedServer, error


class OneJob:
    """A cluster that runs one job, number 17, as a child of the test."""

    def __init__(self, server: ScriptedServer) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.options: dict[str, str] = {}
        self.was_submitted = threading.Event()
        self.was_cancelled = threading.Event()
        server.answer("POST", "/v1/jobs", self.submit)
        server.answer("GET", "/v1/jobs/17", self.wait)
        server.answer("POST", "/v1/jobs/17/cancel", self.cancel)

    def submit(self, request: Request) -> Reply:
        self.options = {name: text.replace("%%", "%") for name, text in request.body["options"]}
        with open(self.options["output"], "wb") as out, open(self.options["error"], "wb") as err:
            self.process = subprocess.Popen(request.body["command"], stdout=out, stderr=err)
        self.was_submitted.set()
        return Reply({"job_id": 17, "warnings": []}, 201)

    def wait(self, _: Request) -> Reply:
        assert self.process is not None
        code = self.process.wait(60)
        if self.was_cancelled.is_set():
            return Reply(ended(17, "CANCELLED", kind="cancelled", exit_code=None, by="ada"))
        if code < 0:
            return Reply(ended(17, "FAILED", kind="signalled", exit_code=None, signal=-code))
        return Reply(ended(17, "FAILED" if code else "COMPLETED", exit_code=code))

    def cancel(self, _: Request) -> Reply:
        assert self.process is not None
        self.was_cancelled.set()
        self.process.terminate()
        return Reply({"job_id": 17, "count": 1})


@pytest.fixture
def server(tmp_path):
    with ScriptedServer(tmp_path / "hal.sock") as running:
        yield running


@pytest.fixture
def cluster(server):
    one_job = OneJob(server)
    yield one_job
    if one_job.process is not None:
        one_job.process.kill()
        one_job.process.wait(60)


def run(server, tmp_path, *words):
    """`hal run` with a directory for temporary files of its own, which must be empty at the end."""
    directory = tmp_path / "tmp %j"
    directory.mkdir()
    result = hal(server.path, "run", *words, env={"TMPDIR": str(directory)})
    assert list(directory.iterdir()) == []
    return result


def test_output_and_exit_code_are_the_jobs(server, cluster, tmp_path):
    result = run(server, tmp_path, "-n1", "--", "sh", "-c", "echo out; printf err >&2; exit 3")
    assert (result.code, result.out) == (3, "out\n")
    assert result.err == "errhal: job 17 failed: exit code 3\n"
    assert cluster.options["ntasks"] == "1"


def test_dashes_are_not_needed_and_quiet_is_quiet(server, cluster, tmp_path):
    result = run(server, tmp_path, "-q", "sh", "-c", "kill -9 $$")
    assert (result.code, result.out, result.err) == (137, "", "")


def test_much_output_is_copied_byte_for_byte(server, cluster):
    process = start_hal(server.path, "run", "--", "head", "-c", "30000000", "/dev/zero")
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, len(out), out.strip(b"\0")) == (0, 30_000_000, b"")


def test_output_comes_while_the_job_runs(server, cluster, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    process = start_hal(server.path, "run", "--", "sh", "-c", f"echo first; read x < {gate}; echo $x")
    assert process.stdout is not None
    assert process.stdout.readline() == b"first\n"
    gate.write_text("second\n")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"second\n", b"")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_cancels_the_job(server, cluster, number, code):
    process = start_hal(server.path, "run", "--", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    directory = Path(cluster.options["output"]).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert cluster.was_cancelled.is_set()
    assert process.returncode == code
    assert err == b"hal: cancelling job 17\nhal: job 17 cancelled: cancelled by ada\n"
    assert not directory.exists()


def test_an_interrupt_during_the_submission_leaves_no_job(server, cluster):
    may_answer = threading.Event()
    calls = []

    def slow(request):
        calls.append(request.body["client_id"])
        if len(calls) == 1:
            cluster.submit(request)
            may_answer.wait(60)
        return Reply({"job_id": 17, "warnings": []})

    server.answer("POST", "/v1/jobs", slow)
    process = start_hal(server.path, "run", "--", "sleep", "60")
    assert cluster.was_submitted.wait(60)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    may_answer.set()
    assert (process.returncode, cluster.was_cancelled.is_set()) == (130, True)
    assert calls[0] == calls[1]


def test_a_reader_that_goes_away_ends_the_job(server, cluster):
    process = start_hal(server.path, "run", "--", "yes")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 141
    assert cluster.was_cancelled.wait(60)
    assert process.stderr is not None
    assert process.stderr.read() == b"hal: cancelling job 17\n"
    process.stderr.close()


def test_a_restart_of_the_daemon_is_waited_through(server, cluster, tmp_path):
    replies = [Reply(raw=b""), error(503, "unavailable", "starting")]
    server.answer("GET", "/v1/jobs/17", lambda request: replies.pop(0) if replies else cluster.wait(request))
    result = run(server, tmp_path, "--", "echo", "here")
    assert (result.code, result.out) == (0, "here\n")
    assert "trying again" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--"], ["--array=1-3", "true"], ["-o", "x", "true"], ["--wrap=x"]])
def test_what_run_cannot_do_is_refused(server, tmp_path, words):
    assert run(server, tmp_path, *words).code == 2
    assert server.requests == []


def test_a_refused_job_leaves_nothing_behind(server, tmp_path):
    server.answer("POST", "/v1/jobs", error(422, "invalid_input", "no", [("options.mem", "too much")]))
    result = run(server, tmp_path, "--mem=1T", "true")
    assert (result.code, result.err) == (1, "hal: options.mem: too much\n")
