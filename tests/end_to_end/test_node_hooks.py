"""Prolog and epilog with real users: what they are given and must not be given, and what follows if they fail."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.hal_connection import HalConnection, HalRefused
from tests.support.hal_services import HalServices
from tests.support.needs import need

USER = "halhook"
INJECTIONS = {
    "LD_PRELOAD": "{home}/evil.so",
    "LD_AUDIT": "{home}/evil.so",
    "PYTHONPATH": "{home}",
    "PYTHONSTARTUP": "{home}/evil.py",
    "BASH_ENV": "{home}/evil.sh",
    "ENV": "{home}/evil.sh",
    "IFS": "/",
    "PERL5OPT": "-I{home} -Mevil",
    "GCONV_PATH": "{home}",
    "BASH_FUNC_x%%": "() {{ touch {home}/marker; }}",
    "PATH": "{home}:/usr/bin:/bin",
    "HOME": "{home}",
    "SHELLOPTS": "xtrace",
    "PS4": "$(touch {home}/marker)",
}
"""S12: what would make a shell, an interpreter or the loader run the user's code as root."""
HOOK = """#!/bin/bash
env -0 > {directory}/$HAL_NODE_NAME.{what}
echo "{what} $HAL_NODE_NAME $HAL_JOB_ID $(id -u)" >> {directory}/ledger
cat
python3 -c "import json"
if type x >/dev/null 2>&1; then x; fi
{tail}
"""
EVIL = {
    "evil.sh": "touch {home}/marker",
    "json.py": "open('{home}/marker', 'w')",
    "cat": "#!/bin/sh\ntouch {home}/marker",
}


@attrs.define(kw_only=True)
class Site(HalServices):
    """Two nodes with hooks, of which n1 is taken first. The hooks keep a ledger of who ran what.

    Another user's home is full of programs that leave a marker.
    """

    user: pwd.struct_passwd = attrs.field(init=False)

    def start_processes(self) -> None:
        self.user = pwd.getpwnam(USER)
        self.directory.chmod(0o711)
        self.home.mkdir()
        for name, text in EVIL.items():
            (self.home / name).write_text(text.format(home=self.home))
            (self.home / name).chmod(0o755)
        os.chown(self.home, self.user.pw_uid, self.user.pw_gid)
        for what in ("prolog", "epilog"):
            self.write(what)
        self.more_configuration = f"prolog: {self.hook('prolog')}\nepilog: {self.hook('epilog')}\nhook_timeout: 2s\n"
        super().start_processes()

    @property
    def home(self) -> Path:
        return self.directory / "home of the user"

    def hook(self, what: str) -> Path:
        return self.directory / what

    def write(self, what: str, tail: str = "", mode: int = 0o755) -> None:
        fresh = self.hook(what).with_suffix(".new")  # One that runs cannot be written.
        fresh.write_text(HOOK.format(directory=self.directory, what=what, tail=tail))
        fresh.chmod(mode)
        fresh.replace(self.hook(what))

    def ledger(self) -> list[str]:
        return (self.directory / "ledger").read_text().splitlines()

    def told(self, what: str, node: str = "n1") -> dict[str, str]:
        return read_environment(self.directory / f"{node}.{what}")

    def submit_as_user(self, script: str, environment: list[str], *options: tuple[str, str]) -> int:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(*[self.user.pw_gid] * 3)
                os.setresuid(*[self.user.pw_uid] * 3)
                body = self.body(options) | {"client_id": "", "script": script}
                body |= {
                    "environment": environment,
                    "working_directory": str(self.home),
                    "client_id": os.urandom(8).hex(),
                }
                answer = HalConnection(self.socket).post("/v1/jobs", body)
                os.write(writing, json.dumps(answer).encode())
            except HalRefused as refused:
                os.write(writing, json.dumps(str(refused)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with open(reading, "rb") as answer:
            told = json.loads(answer.read())
        assert "job_id" in told, told
        return int(told["job_id"])

    def ended(self, job_id: int) -> dict[str, Any]:
        """The job's only element, when it has ended."""
        self.wait_until_done(60)
        [element] = self.get(f"/v1/jobs/{job_id}/elements")["elements"]
        return dict(element)

    def drain_reason(self, node: str) -> str:
        [found] = [each for each in self.get("/v1/nodes")["nodes"] if each["name"] == node]
        return str(found["reason"]) if found["is_drained"] else ""


def read_environment(path: Path) -> dict[str, str]:
    return dict(string.split("=", 1) for string in path.read_text().split("\0") if string)


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    need("" if os.geteuid() == 0 else "a prolog that runs as root needs root")
    subprocess.run(["useradd", "--no-create-home", "--user-group", USER], check=True)
    try:
        with Site(node_count=2, cpus=2) as site:
            yield site
    finally:
        subprocess.run(["userdel", "--force", USER], check=True)


@pytest.fixture
def site(running: Site) -> Site:
    """With hooks that work, an empty ledger and no node drained."""
    for what in ("prolog", "epilog"):
        running.write(what)
    (running.directory / "ledger").write_text("")
    for node in running.nodes:
        if running.drain_reason(node):
            assert running.run("nodes", "resume", node).returncode == 0
    return running


def test_nothing_of_the_users_is_executed_as_root_and_all_of_it_reaches_the_job(site: Site) -> None:
    injected = {name: value.format(home=site.home) for name, value in INJECTIONS.items()}
    environment = [f"{name}={value}" for name, value in injected.items() if name != "LD_PRELOAD"]
    # A shell would not pass all of it on.
    write = f"open({str(site.home / 'environment')!r}, 'wb').write(open('/proc/self/environ', 'rb').read())"
    job_id = site.submit_as_user(
        f"#!/usr/bin/python3 -I\n{write}\n", [*environment, f"LD_PRELOAD={injected['LD_PRELOAD']}"]
    )
    assert site.ended(job_id)["state"] == "COMPLETED"
    assert site.ledger() == [f"prolog n1 {job_id} 0", f"epilog n1 {job_id} 0"]
    assert not (site.home / "marker").exists()
    for what in ("prolog", "epilog"):
        told = site.told(what)
        own = {name: value for name, value in told.items() if not name.startswith("HAL_")}
        assert own.keys() <= {"PATH", "HOME", "LANG", "PWD", "SHLVL", "_"}, own
        assert (told["HOME"], told["LANG"], told["PATH"]) == ("/", "C", "/usr/sbin:/usr/bin:/sbin:/bin")
        assert told["HAL_JOB_UID"] == str(site.user.pw_uid)
        assert (told["HAL_JOB_USER"], told["HAL_PARTITION"], told["HAL_NODE_LIST"]) == (USER, "main", "n1")
        users = {name.removeprefix("HAL_USER_"): value for name, value in told.items() if name.startswith("HAL_USER_")}
        assert users == {name: value for name, value in injected.items() if "%" not in name}
    reached = read_environment(site.home / "environment")
    # Functions that a shell exported are left out at submission, with a warning (parsing/environment.py).
    assert {name: value for name, value in injected.items() if "%" not in name}.items() <= reached.items()


def test_a_user_cannot_make_a_prolog_fail(site: Site) -> None:
    """Neither with more variables than fit, nor with values that are no line of text."""
    environment = [f"V{number}={'x' * 4000}" for number in range(200)]
    job_id = site.submit_as_user("#!/bin/sh\n", [*environment, "X=\n\x1b[0m"])
    assert site.ended(job_id)["state"] == "COMPLETED"
    assert site.drain_reason("n1") == site.drain_reason("n2") == ""


def test_each_node_of_a_gang_runs_them_once_around_all_of_it(site: Site) -> None:
    script = f"#!/bin/sh\ntest $(/bin/grep -c prolog {site.directory}/ledger) -ge 1"
    (site.directory / "ledger").chmod(0o644)
    job_id = site.submit_as_user(
        script, ["PATH=/usr/bin:/bin"], ("nodes", "2"), ("ntasks-per-node", "2"), ("spread", "task")
    )
    assert site.ended(job_id)["state"] == "COMPLETED"
    lines = [f"{what} {node} {job_id} 0" for what in ("prolog", "epilog") for node in ("n1", "n2")]
    assert sorted(site.ledger()) == sorted(lines)
    for node in site.nodes:
        assert site.ledger().index(f"prolog {node} {job_id} 0") < site.ledger().index(f"epilog {node} {job_id} 0")


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("exit 3", "ended with exit code 3"),
        ("kill -9 $$", "was ended by signal 9"),
        ("(trap '' TERM; sleep 1000) & sleep 1000", "did not end within 2 s"),
    ],
)
def test_a_node_whose_prolog_fails_is_drained_and_the_job_starts_elsewhere(site: Site, tail: str, reason: str) -> None:
    site.write("prolog", f'if [ "$HAL_NODE_NAME" = n1 ]; then {tail}; fi')
    job_id = site.submit_as_user(f"#!/bin/sh\necho ran >> '{site.home}/ran.{tail[:2]}'", ["PATH=/usr/bin:/bin"])
    element = site.ended(job_id)
    assert (element["state"], element["attempt"]) == ("COMPLETED", 2)
    assert site.drain_reason("n1") == f"prolog {site.hook('prolog')}: {reason}"
    assert site.drain_reason("n2") == ""
    assert (site.home / f"ran.{tail[:2]}").read_text() == "ran\n"
    assert f"epilog n1 {job_id} 0" in site.ledger(), "what the prolog had begun is cleared up"
    assert not site.members("sleep 1000")


def test_a_gang_does_not_begin_where_a_prolog_failed(site: Site) -> None:
    site.write("prolog", 'if [ "$HAL_NODE_NAME" = n2 ]; then exit 1; fi')
    job_id = site.submit_as_user(
        "#!/bin/sh\n", ["PATH=/usr/bin:/bin"], ("nodes", "2"), ("requeue", ""), ("spread", "node")
    )
    site.tree.until("n2 is drained", lambda: bool(site.drain_reason("n2")), 30, [site.service])
    site.write("prolog")
    assert site.run("nodes", "resume", "n2").returncode == 0
    element = site.ended(job_id)
    assert (element["state"], element["attempt"]) == ("COMPLETED", 2)


def test_a_failed_epilog_drains_the_node_and_not_the_job(site: Site) -> None:
    site.write("epilog", "exit 7")
    job_id = site.submit_as_user("#!/bin/sh\n", ["PATH=/usr/bin:/bin"])
    assert site.ended(job_id)["state"] == "COMPLETED"
    assert site.drain_reason("n1") == f"epilog {site.hook('epilog')}: ended with exit code 7"


def test_a_prolog_that_others_may_change_is_not_run(site: Site) -> None:
    site.write("prolog", mode=0o757)
    job_id = site.submit_as_user("#!/bin/sh\n", ["PATH=/usr/bin:/bin"])
    site.tree.until("n1 is drained", lambda: bool(site.drain_reason("n1")), 30, [site.service])
    assert site.drain_reason("n1").endswith("prolog can be written by others (mode 0757)")
    assert site.run("cancel", str(job_id)).returncode == 0
    site.wait_until_done()
    assert "prolog n1" not in "".join(site.ledger())
    site.kill("n1", signal.SIGTERM)
    site.start_service("n1")  # It refuses to start, and says why.
    pid = site.services.pop("n1")
    assert site.tree.wait_for_exits([pid], 60)
    assert f"prolog {site.hook('prolog')}: is not run on this node" in site.log_of("n1").read_text()
    site.write("prolog")
    site.start_service("n1")
    site.wait_until_ready()


def test_a_job_that_is_cancelled_while_its_prolog_runs_never_begins(site: Site) -> None:
    site.write("prolog", "sleep 1")
    job_id = site.submit_as_user(f"#!/bin/sh\ntouch '{site.home}/begun'", ["PATH=/usr/bin:/bin"])
    site.tree.until("the prolog runs", lambda: f"prolog n1 {job_id} 0" in site.ledger(), 30, [site.service])
    assert site.run("cancel", str(job_id)).returncode == 0
    assert site.ended(job_id)["state"] == "CANCELLED"
    assert not (site.home / "begun").exists()
    assert site.drain_reason("n1") == ""
    assert site.ledger()[-1] == f"epilog n1 {job_id} 0"
