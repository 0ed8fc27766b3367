"""Callers from other machines: `hal token` here, `hal` with HAL_SERVER=https://... there. A real daemon, real TLS."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from hal_core.client import AsyncClient, Client
from tests.support.needs import need
from tests.support.remote_services import ADA, RemoteServices


@pytest.fixture(scope="module")
def hal() -> Iterator[RemoteServices]:
    need("" if os.geteuid() == 0 else "takes root, to be another user")
    with RemoteServices(node_count=1, cpus=4) as running:
        running.make_token()
        yield running


def test_the_token_file_is_private(hal: RemoteServices) -> None:
    assert hal.token.stat().st_mode & 0o777 == 0o600
    assert hal.token.stat().st_uid == pwd.getpwnam(ADA).pw_uid


def test_a_remote_caller_is_who_made_the_token(hal: RemoteServices) -> None:
    status = hal.as_ada("status", **hal.remote)
    assert status.returncode == 0, status.stderr
    assert f"You are    {ADA}" in status.stdout
    job = hal.as_ada("submit", "--output=/dev/null", "--", "/bin/sleep", "0.1", **hal.remote)
    assert job.returncode == 0, job.stderr
    drain = hal.as_ada("nodes", "drain", "n1", "--reason", "x", **hal.remote)
    assert drain.returncode == 1
    assert "as user you may not drain" in drain.stderr
    another = hal.as_ada("token", **hal.remote)
    assert another.returncode == 1
    assert "a token cannot be used to get another one" in another.stderr


def test_the_python_client_speaks_tls_too(hal: RemoteServices, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in hal.remote.items():
        monkeypatch.setenv(name, value)
    with Client() as client:
        assert client.status()["caller"]["user"] == ADA
        assert client.status()["caller"]["user"] == ADA  # on the same connection


async def test_the_trio_client_speaks_tls_too(hal: RemoteServices, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in hal.remote.items():
        monkeypatch.setenv(name, value)
    async with AsyncClient() as client:
        assert (await client.status())["caller"]["user"] == ADA
        assert (await client.status())["caller"]["user"] == ADA


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"HAL_CA_FILE": ""}, "certificate"),
        ({"HAL_CA_FILE": "/nowhere"}, "/nowhere"),
        ({"HAL_TOKEN_FILE": ""}, "HAL_TOKEN_FILE is not set"),
        ({"HAL_TOKEN_FILE": "/nowhere"}, "No such file"),
        ({"HAL_TOKEN_FILE": "/etc/passwd"}, "others may read it"),
        ({"HAL_SERVER": "https://localhost:1"}, "Connection refused"),
        ({"HAL_SERVER": "http://localhost:{port}"}, "hal: "),
    ],
)
def test_what_is_missing_is_told_in_a_line(hal: RemoteServices, change: dict[str, str], told: str) -> None:
    change = {name: value.format(port=hal.port) for name, value in change.items()}
    failed = hal.as_ada("status", **hal.remote | change)
    assert failed.returncode in (1, 2)
    assert told in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert hal.token.read_text().strip() not in failed.stderr


def test_the_token_is_nowhere_else(hal: RemoteServices) -> None:
    """Not in a command line, a log, the journal, the configuration or a job's environment."""
    token = hal.token.read_text().strip().encode()
    out = hal.token.parent / "env"
    assert hal.as_ada("submit", f"--output={out}", "--", "/usr/bin/env", **hal.remote).returncode == 0
    hal.wait_until_done()
    places = [path for path in hal.directory.rglob("*") if path.is_file() and path != hal.token]
    places += [path for pid in Path("/proc").glob("[0-9]*") for path in (pid / "cmdline", pid / "environ")]
    assert out in places
    for path in places:
        try:
            content = path.read_bytes()
        except OSError:
            continue
        assert token not in content, path
        assert token.rpartition(b".")[2] not in content, path
    for words in (["config", "show"], ["status", "--json"], ["queue", "--json"], ["history", "--json"]):
        shown = hal.as_ada(*words)
        assert token.decode() not in shown.stdout + shown.stderr


def test_the_key_is_checked_at_the_start(hal: RemoteServices) -> None:
    key = hal.state / "token.key"
    hal.kill("daemon")
    for spoil, mend in ((lambda: key.chmod(0o644), lambda: key.chmod(0o600)),
                        (lambda: (hal.directory / "tls.key").chmod(0o644),
                         lambda: (hal.directory / "tls.key").chmod(0o600))):  # fmt: skip
        spoil()
        refused = hal.run("daemon", str(hal.configuration))
        assert refused.returncode == 1
        assert "chmod 0600" in refused.stderr
        assert "Traceback" not in refused.stderr
        mend()
    hal.start_service("daemon")
    hal.wait_until_ready()
    assert hal.as_ada("status", **hal.remote).returncode == 0  # tokens outlive the daemon
