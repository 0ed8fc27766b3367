"""Defences of a real daemon with real users: what was recorded, changed, hidden in a name, or not meant for one."""

from __future__ import annotations

import base64
import json
import os
import pwd
import sqlite3
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hal import CHECKOUT
from tests.support.needs import need
from tests.support.recorder import MIDDLE, Recorder, answer_to
from tests.support.remote_services import ADA, BOB, RemoteServices

EVIL = "disk\x1b]0;owned\x07\x9b31m\nERROR root logged in\r\x7f"
CANARY = "canary-5eb1d7a0"


@pytest.fixture(scope="module")
def hal() -> Iterator[RemoteServices]:
    need("" if os.geteuid() == 0 else "takes root, to be other users")
    with RemoteServices(node_count=1, cpus=4) as running:
        running.make_token()
        yield running


def job_count(hal: RemoteServices) -> int:
    with hal.connect() as connection:
        return sum(connection.get("/v1/status")["jobs"].values())


def submit(hal: RemoteServices, host: str) -> int:
    """By ADA, from far away."""
    server = {"HAL_SERVER": f"https://{host}:{hal.port}"}
    done = hal.as_ada("submit", "--output=/dev/null", "--", "/bin/true", **hal.remote | server)
    assert "Traceback" not in done.stderr
    return done.returncode


def submit_as_ada(hal: RemoteServices, inputs: Path) -> int:
    """A job that does nothing, by her token."""
    body = hal.body([("inputs", str(inputs))]) | {"client_id": str(inputs), "command": ["/bin/true"]}
    head = {"Authorization": f"Bearer {hal.token.read_text().strip()}", "Content-Type": "application/json"}
    url = f"https://localhost:{hal.port}/v1/jobs"
    request = urllib.request.Request(url, json.dumps({**body, "working_directory": "/"}).encode(), head)
    trusted = ssl.create_default_context(cafile=hal.directory / "tls.pem")
    with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
        return int(json.load(answer)["job_id"])


def test_what_was_recorded_cannot_be_sent_again(hal: RemoteServices) -> None:
    """Not as it was, not with more behind it, not with another head, not in part."""
    with Recorder(hal.port) as middle:
        assert submit(hal, MIDDLE) == 0
    before = job_count(hal)
    (said,) = middle.said
    assert len(said) > 1000, "a handshake and a request"
    for again in (said, said + said, said + b"x" * 100, said[:5] + b"\x00" + said[6:], said[: len(said) // 2]):
        assert b"HTTP/1.1" not in answer_to(hal.port, again)
    assert job_count(hal) == before
    assert submit(hal, "localhost") == 0


def test_what_is_changed_on_the_way_does_not_arrive(hal: RemoteServices) -> None:
    """The first record ends the handshake, the second is the request. The client tries for a while, and says so."""
    before = job_count(hal)
    with Recorder(hal.port, spoiled=2):
        assert submit(hal, MIDDLE) == 1
    assert job_count(hal) == before


def test_nothing_that_a_name_holds_moves_a_terminal_or_forges_a_line(hal: RemoteServices) -> None:
    for given in ({"options": [["job-name", EVIL]]}, {"options": [["comment", EVIL]]}):
        refused = hal.connect()
        with refused, pytest.raises(Exception, match="control or invisible") as caught:
            refused.post("/v1/jobs", {"client_id": "evil", "command": ["x"], **given})
        assert "\x1b" not in str(caught.value)
    drained = hal.run("nodes", "drain", "n1", "--reason", EVIL)
    try:
        shown = [hal.run(*words) for words in (["nodes"], ["nodes", "n1"], ["status"])]
        assert drained.returncode == 1 or any("\\x1b]0;owned" in each.stdout for each in shown)
        for each in (drained, *shown):
            assert not set("\x1b\x07\x9b\r\x7f") & set(each.stdout + each.stderr), each.args
            assert "\nERROR root" not in each.stdout + each.stderr
    finally:
        hal.run("nodes", "resume", "n1")
    for log in hal.directory.rglob("*.log"):
        text = log.read_bytes()
        assert b"\x1b" not in text, log
        assert not any(line.startswith(b"ERROR root") for line in text.splitlines()), log


NAMES = (
    "'; DROP TABLE events;--",
    '" OR 1=1 --',
    "%",
    "_",
    "a' UNION SELECT * FROM meta --",
    "x); DELETE FROM history;",
)


def test_names_are_never_part_of_a_statement(hal: RemoteServices) -> None:
    """Every name comes back exactly, finds only itself, and leaves the tables as they were."""

    def schema() -> list[tuple[str, str]]:
        with sqlite3.connect(f"file:{hal.state / 'journal.sqlite'}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()

    before = schema()
    assert before
    with hal.connect() as connection:
        for name in NAMES:
            body = hal.body([("job-name", name)]) | {"client_id": name, "command": ["/bin/true"]}
            job_id = connection.post("/v1/jobs", body)["job_id"]
            assert connection.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
        for name in NAMES:
            quoted = "".join(f"%{byte:02x}" for byte in name.encode())
            found = connection.get(f"/v1/history?name={quoted}")["entries"]
            assert [entry["name"] for entry in found] == [name]
            assert connection.get(f"/v1/history?user={quoted}")["entries"] == []
            listed = connection.get(f"/v1/jobs?name={quoted}&state=COMPLETED")["jobs"]
            assert [job["name"] for job in listed] == [name]
    for target in ("/v1/history?order=(SELECT%201)", "/v1/jobs?sort=(SELECT%201)", "/v1/history?limit=1;DROP"):
        with hal.connect() as connection, pytest.raises(Exception, match=r"order|sort|limit"):
            connection.get(target)
    assert schema() == before


def test_what_is_private_stays_where_it_belongs(hal: RemoteServices) -> None:
    """ADA's words are not in command lines, in logs, or in what BOB can ask for; the daemon's key is nowhere at all."""
    may_end = hal.token.parent / "may-end"
    os.mkfifo(may_end)
    script = hal.token.parent / "job.sh"
    script.write_text(f"#!/bin/sh\n# {CANARY}\nenv > {hal.token.parent}/env\ncat {may_end}\n")
    words = ["submit", "--parsable", f"--export=ALL,A={CANARY}", "--output=/dev/null", str(script), CANARY]
    done = hal.as_ada(*words, **hal.remote)
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.strip()
    with hal.connect() as connection:
        assert connection.get(f"/v1/jobs/{job_id}?wait=started&timeout_s=60")["state"] == "RUNNING"
    shown = [hal.as_user(BOB, *words) for words in (["show", job_id], ["show", "--json", job_id], ["queue", "--json"])]
    for pid in (entry for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        words_of = _read(pid / "cmdline")
        assert b"hal_core" not in words_of or CANARY.encode() not in words_of, words_of
    may_end.write_text("")
    with hal.connect() as connection:
        assert connection.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")["state"] == "COMPLETED"
    shown += [hal.as_user(BOB, *words) for words in (["show", job_id], ["history", "--json"], ["explain", job_id])]
    for each in shown:
        assert CANARY not in each.stdout + each.stderr, each.args
    for log in hal.directory.rglob("*.log"):
        assert CANARY.encode() not in log.read_bytes(), log
    key = (hal.state / "token.key").read_bytes()
    forms = (key, key.hex().encode(), base64.b64encode(key), base64.urlsafe_b64encode(key).rstrip(b"="))
    places = [path for path in hal.directory.rglob("*") if path.is_file() and path.name != "token.key"]
    places += [path for pid in Path("/proc").glob("[0-9]*") for path in (pid / "cmdline", pid / "environ")]
    assert hal.token.parent / "env" in places
    for path in places:
        content = _read(path)
        assert not any(form in content for form in forms), path


def test_an_input_says_nothing_of_what_only_root_may_see(hal: RemoteServices) -> None:
    """ADA names paths as inputs that she cannot look at. Whatever is there, her jobs hear the same of all of them."""
    hidden = hal.directory / "hidden"
    (hidden / "directory").mkdir(parents=True)
    (hidden / "file").write_text("secret")
    (hidden / "link").symlink_to("directory")
    hidden.chmod(0o700)
    (hal.token.parent / "way").symlink_to(hidden)
    ways = [place / name for place in (hidden, hal.token.parent / "way") for name in ("file", "directory", "absent")]
    ways += [hidden / name for name in ("link", "file/below", "absent/below", "directory/absent")]
    job_ids = [submit_as_ada(hal, inputs=way) for way in (*ways, hal.token.parent / "absent")]
    with hal.connect() as connection:
        heard = [connection.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")["state"] for job_id in job_ids]
    *hidden_ones, absent = heard
    assert len(set(hidden_ones)) == 1, dict(zip(ways, hidden_ones, strict=True))
    assert (hidden_ones[0], absent) == ("COMPLETED", "FAILED"), "what everybody sees not to be there is told"
    told = hal.run("explain", str(job_ids[-1]))
    assert f"there is no {hal.token.parent}/absent" in told.stdout + told.stderr


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_the_daemon_holds_in_memory_is_not_for_other_processes_of_its_user(is_kept: bool) -> None:
    """Keys are there in the clear. Not by /proc, and so not by a debugger or a core file."""
    need("" if os.geteuid() == 0 else "takes root, to be another user")
    uid = pwd.getpwnam(ADA).pw_uid
    program = (
        "import ctypes, os, sys; from hal_core.daemon import keep_memory_private; "
        "os.setresuid(*[int(sys.argv[1])] * 3); ctypes.CDLL(None).prctl(4, 1, 0, 0, 0); "  # as after an exec
        f"{'keep_memory_private(); ' if is_kept else ''}print(flush=True); input()"
    )
    holding = subprocess.Popen(
        [sys.executable, "-c", program, str(uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT
    )
    with holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == b"\n"
        reading = subprocess.run(
            ["/bin/cat", f"/proc/{holding.pid}/environ"], user=uid, capture_output=True, check=False
        )
        assert (b"Permission denied" in reading.stderr) == is_kept
        holding.communicate(b"\n", timeout=30)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
