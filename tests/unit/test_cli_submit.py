"""`hal submit` as a whole process: what is sent, what is printed, and what happens when things go wrong."""

import json
import signal
import subprocess
import threading

import pytest

from hal_core.parsing.options import OPTIONS
from tests.support.cli import COMMAND, environment, hal, start_hal
from tests.support.rest_bodies import ended, job
from tests.support.scripted_server import Reply, ScriptedServer, error

SCRIPT = "#!/bin/sh\n#HAL --time=10\nhostname\n"


@pytest.fixture
def server(tmp_path):
    with ScriptedServer(tmp_path / "hal.sock") as running:
        running.answer("POST", "/v1/jobs", Reply({"job_id": 17, "warnings": []}, 201))
        yield running


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "hello.sh"
    path.write_text(SCRIPT)
    return path


def test_a_script_is_sent_as_it_was_read(server, script, tmp_path):
    words = ["-n2", "--mem=4G", "--exclusive", "--time", "1:00", str(script), "-x", "a b"]
    result = hal(server.path, "submit", *words, cwd=tmp_path, env={"COLOUR": "grün"})
    assert (result.code, result.out, result.err) == (0, "Submitted job 17\n", "")
    sent = server.requests[0].body
    assert sent["options"] == [["ntasks", "2"], ["mem", "4G"], ["exclusive", ""], ["time", "1:00"]]
    assert (sent["script"], sent["script_name"], sent["arguments"]) == (SCRIPT, "hello.sh", ["-x", "a b"])
    assert sent["working_directory"] == str(tmp_path)
    assert "COLOUR=grün" in sent["environment"]
    assert set(sent) == {
        "client_id", "options", "working_directory", "environment", "script", "script_name", "arguments"
    }  # fmt: skip


def test_a_command_or_stdin_can_be_submitted(server):
    assert hal(server.path, "submit", "--parsable", "--", "echo", "--time").out == "17\n"
    assert server.requests[0].body["command"] == ["echo", "--time"]
    assert hal(server.path, "submit", "-", "arg", input=SCRIPT.encode()).code == 0
    assert hal(server.path, "submit", input=SCRIPT.encode()).code == 0
    assert [request.body["script"] for request in server.requests[1:]] == [SCRIPT, SCRIPT]
    assert hal(server.path, "submit", "--wrap=hostname | wc").code == 0
    assert server.requests[3].body["options"] == [["wrap", "hostname | wc"]]


def test_each_submission_has_an_id_of_its_own(server):
    for words in ([], [], ["--client-id", "mine"]):
        hal(server.path, "submit", *words, "--", "true")
    first, second, third = (request.body["client_id"] for request in server.requests)
    assert first != second
    assert third == "mine"


def test_json_is_the_daemons_answer(server):
    body = {"job_id": 17, "warnings": [{"place": "hello.sh:9", "text": "ignored\x1b[31m"}]}
    server.answer("POST", "/v1/jobs", body)
    result = hal(server.path, "submit", "--json", "--", "true")
    assert json.loads(result.out) == body
    assert result.err == "hal: warning: hello.sh:9: ignored\\x1b[31m\n"


def test_all_problems_are_told_one_in_a_line(server):
    problems = [("options.mem", "'10X' is no amount"), ("options.nodes", "'0'\nis too few")]
    server.answer("POST", "/v1/jobs", error(422, "invalid_input", "both", problems))
    result = hal(server.path, "submit", "--mem=10X", "--nodes=0", "--", "true")
    assert (result.code, result.out) == (1, "")
    assert result.err == "hal: options.mem: '10X' is no amount\nhal: options.nodes: '0'\nhal: is too few\n"


def test_an_unknown_option_is_the_daemons_to_refuse(server):
    server.answer("POST", "/v1/jobs", error(422, "invalid_input", "no wckey", [("options.wckey", "HAL has no wckey")]))
    result = hal(server.path, "submit", "--wckey", "high", "job.sh")
    assert (result.code, result.err) == (1, "hal: options.wckey: HAL has no wckey\n")
    assert server.requests[0].body["options"] == [["wckey", ""]]


def test_a_script_that_cannot_be_read_is_told(server, tmp_path):
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\xff")
    (tmp_path / "latin").write_bytes(b"#!/bin/sh\n# \xe9\n")
    (tmp_path / "long").write_bytes(b"#" * 1_100_000)
    for name, told in [
        ("nofile.sh", "cannot open nofile.sh: No such file"),
        ("sh", "cannot open sh: No such file or directory; a command stands behind --, as in: hal submit -- sh"),
        (".", "cannot open .: Is a directory"),
        ("binary", "a program, not a script"),
        ("latin", "not UTF-8 text (byte 12)"),
        ("long", "longer than 1 MiB"),
    ]:
        result = hal(server.path, "submit", name, cwd=tmp_path)
        assert (result.code, told in result.err, result.err.count("\n")) == (1, True, 1), result
    assert server.requests == []


@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_an_empty_script_is_named(server, tmp_path, content):
    empty = tmp_path / "empty.sh"
    empty.write_text(content)
    for result in (hal(server.path, "submit", str(empty)), hal(server.path, "submit", "-", input=content.encode())):
        assert (result.code, "is empty; a script begins with" in result.err) == (1, True)
    assert not server.requests


def test_a_directory_that_is_gone_is_told(server, tmp_path):
    shell = f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; {' '.join(COMMAND)} submit -- true"
    env = environment(server.path)
    done = subprocess.run(["sh", "-c", shell], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "hal: the current directory is gone; change to another and try again",
    )


def test_wrong_usage_is_code_2(server):
    for words in (["--time"], ["--"], ["--wrap=x", "job.sh"], ["--json=yes", "--", "true"]):
        assert hal(server.path, "submit", *words).code == 2, words
    assert hal(server.path, "submit", "--", b"\xff").code == 2
    assert server.requests == []


def test_a_variable_that_is_no_text_is_left_out(server):
    result = hal(server.path, "submit", "--", "true", env={"ODD": b"\xff"})
    assert (result.code, "ODD is not UTF-8" in result.err) == (0, True)
    assert not any(pair.startswith("ODD=") for pair in server.requests[0].body["environment"])


def test_wait_ends_as_the_job_does(server):
    replies = [Reply(job(job_id=17)), Reply(ended(17, "FAILED", exit_code=3))]
    server.answer("GET", "/v1/jobs/17", lambda _: replies.pop(0))
    result = hal(server.path, "submit", "--wait", "--", "false")
    assert (result.code, result.out) == (3, "Submitted job 17\n")
    assert result.err == "hal: job 17 failed: exit code 3\n"
    first, last = (request.query for request in server.requests[-2:])
    assert first == {"wait": "ended", "timeout_s": "1"}, "whoever waits is soon told why"
    assert last == {"wait": "ended", "timeout_s": "30"}


def test_a_lost_answer_is_asked_for_again(server):
    replies = [
        Reply(raw=b""),
        error(503, "unavailable", "inbox full", Retry_After="0"),
        Reply({"job_id": 5, "warnings": []}),
    ]
    server.answer("POST", "/v1/jobs", lambda _: replies.pop(0))
    assert hal(server.path, "submit", "--parsable", "--", "true").out == "5\n"
    assert len({request.body["client_id"] for request in server.requests}) == 1


def test_ctrl_c_ends_at_once_and_in_silence(server):
    was_asked, never = threading.Event(), threading.Event()

    def hang(_):
        was_asked.set()
        never.wait(60)
        return Reply({})

    server.answer("POST", "/v1/jobs", hang)
    process = start_hal(server.path, "submit", "--", "true")
    assert was_asked.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    never.set()
    assert (process.returncode, out, err) == (130, b"", b"")


def test_no_daemon_is_one_line_with_the_way_out(tmp_path):
    result = hal(tmp_path / "hal.sock", "submit", "--", "true")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith("hal: cannot reach the daemon")
    assert "hal dev" in result.err


def test_help_names_every_option_of_a_job(tmp_path):
    result = hal(tmp_path / "none", "submit", "--help")
    assert result.code == 0
    for name in ("--cpus-per-task COUNT", "-c, ", "--exclusive", "--client-id"):
        assert name in result.out
    for option in OPTIONS:
        assert option.help in result.out, f"--{option.name} is named and not explained"
    assert max(map(len, result.out.splitlines())) <= 140
