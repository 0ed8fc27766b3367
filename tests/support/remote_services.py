"""A daemon that also listens on a port of this machine, with TLS, and people who use it."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import attrs

from tests.support.certificates import make_certificate
from tests.support.hal import CHECKOUT
from tests.support.hal_services import HalServices
from tests.support.recorder import MIDDLE

ADA = "nobody"
"""A user who is neither root nor an operator, and whom every machine has."""
BOB = "daemon"
"""Another one."""


@attrs.define(kw_only=True)
class RemoteServices(HalServices):
    """`token` is a file of ADA's, once `make_token` was called."""

    port: int = attrs.field(init=False)

    def start_processes(self) -> None:
        self.directory.chmod(0o755)
        make_certificate(self.directory, "localhost", "127.0.0.1", MIDDLE)
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        super().start_processes()

    def _configuration_text(self) -> str:
        files = f"  certificate: {self.directory}/tls.pem\n  key: {self.directory}/tls.key"
        more = f"  address: 127.0.0.1:{self.port}\n{files}\n  hosts: [{MIDDLE}]"
        return super()._configuration_text().replace("listen:\n", f"listen:\n{more}\n")

    def as_user(self, user: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A `hal` command by that user."""
        return subprocess.run(
            [sys.executable, "-m", "tests.support.as_user", user, *words],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            cwd=CHECKOUT,
        )

    def as_ada(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.as_user(ADA, *words, **more)

    def make_token(self) -> None:
        """ADA gets a directory, and a token in it."""
        home = self.token.parent
        home.mkdir()
        os.chown(home, pwd.getpwnam(ADA).pw_uid, -1)
        made = self.as_ada("token", "--lifetime", "10m", "--output", str(self.token))
        assert made.returncode == 0, made.stderr

    @property
    def remote(self) -> dict[str, str]:
        """What the environment on the other machine must have."""
        return {
            "HAL_SERVER": f"https://localhost:{self.port}",
            "HAL_CA_FILE": str(self.directory / "tls.pem"),
            "HAL_TOKEN_FILE": str(self.token),
        }

    @property
    def token(self) -> Path:
        return self.directory / "ada" / "token"
