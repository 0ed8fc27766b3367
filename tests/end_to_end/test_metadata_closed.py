"""What HAL gives a rented machine keeps jobs from its metadata service: a real server, in a network namespace."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hal_core.fleet.user_data import SCRIPT
from tests.support import metadata_service
from tests.support.hosts import Hosts, missing
from tests.support.needs import need
from tests.support.processes import ProcessTree

ADDRESS = "169.254.169.254"
NOBODY = 65_534
REQUEST = f"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n{metadata_service.LIFE_HEADER}: 60\r\n\r\n"
ASK = f"""
import os, socket, sys
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))  # No file is needed any more.
connection = socket.socket()  # Whose it is, is whose packets are.
connection.settimeout(20)
connection.connect(("{ADDRESS}", 80))
connection.sendall({REQUEST.encode()!r})
print(connection.recv(1000).split(b"\\r")[0])
"""


@pytest.fixture
def hosts(tmp_path):
    """Host 1 is the cloud's, with the service; host 2 is the rented machine."""
    need(missing())
    with Hosts(2) as hosts, ProcessTree() as tree:
        for words in (
            ["ip", "addr", "add", f"{ADDRESS}/32", "dev", "lan"],
            ["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0"],
        ):
            subprocess.run(hosts.command(1, words), check=False)
        subprocess.run(hosts.command(2, ["ip", "route", "add", ADDRESS, "via", hosts.address(1)]), check=True)
        serve = hosts.command(1, [sys.executable, metadata_service.__file__, "80"])
        pid = tree.start(serve, tmp_path / "service.log", {"PYTHONPATH": str(Path.cwd())})
        tree.until("the service answers root", lambda: ask(hosts, 0).returncode == 0, 60, [pid])
        yield hosts


def ask(hosts, uid):
    """For a token, which is what everything begins with."""
    words = hosts.command(2, [sys.executable, "-I", "-c", ASK, str(uid)])
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", timeout=60)


def closing():
    """The lines of the text that close it, and nothing else of it."""
    found = re.search(r"^close\(\) \{\n.*?^then\n", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return f"{found[0]}    exit 1\nfi\n"


def test_jobs_do_not_reach_the_metadata_service_and_root_does(hosts):
    assert ask(hosts, NOBODY).returncode == 0, "as long as nothing closes it"
    for _ in range(2):  # At each boot, and whenever it is run again.
        subprocess.run(hosts.command(2, ["sh", "-c", closing()]), check=True)
        assert ask(hosts, 0).stdout == "b'HTTP/1.1 200 OK'\n"
        refused = ask(hosts, NOBODY)
        assert refused.returncode == 1
        assert "Permission denied" in refused.stderr


def test_a_machine_that_cannot_close_it_becomes_no_node():
    text = "ip() { return 2; }\n" + closing()
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
