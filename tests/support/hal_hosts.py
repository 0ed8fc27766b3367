"""HAL on several hosts (tests/support/hosts.py): the daemon on the first, one agent on each of the others, over TLS.

    with HalHosts(node_count=2) as hal:
        job_id = hal.submit("/bin/hostname")

Node number k runs on host k + 1. Enrolment is that of a site: `hal ca init`, `hal agent token`, `hal agent enroll`.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import attrs

from tests.support.hal import hal_command
from tests.support.hal_services import DAEMON, HalServices
from tests.support.hosts import Hosts

PORT = 7444


@attrs.define(kw_only=True)
class HalHosts(HalServices):
    """A context manager."""

    node_timeout: str = "300s"
    heartbeat_s: float = 1.0
    hosts: Hosts = attrs.field(init=False)

    def __enter__(self) -> HalHosts:
        self.hosts = Hosts(self.host_count)
        self.hosts.__enter__()
        try:
            return super().__enter__()
        except BaseException:
            self.hosts.__exit__(None, None, None)
            raise

    def __exit__(self, *given: object) -> None:
        try:
            super().__exit__(*given)  # type: ignore[arg-type]
        finally:
            self.hosts.__exit__(None, None, None)

    @property
    def host_count(self) -> int:
        return self.node_count + 1

    def start_processes(self) -> None:
        self.configuration.write_text(self._configuration_text())
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.hal("ca", "init", str(self.configuration))
        self.start_service(DAEMON)
        self.tree.until("the port is open", lambda: "listens" in self.log.read_text() or self._is_open(), 60)
        for node in self.nodes:
            self.enroll(node)
            self.start_service(node)

    def begin_anew(self) -> HalHosts:
        """For the next test on the same cluster: a connection that idled for long is closed by the daemon."""
        self._connection.close()
        return self

    @property
    def server(self) -> str:
        return f"{self.hosts.address(1)}:{PORT}"

    def enroll(self, node: str, host: int = 0) -> None:
        token = self.hal("agent", "token", str(self.configuration), node)
        words = ["agent", "enroll", "--server", self.server, "--node", node, "--state", str(self.node_state(node))]
        self.hal(*words, host=host or self.host_of(node), given=token)

    def hal(self, *words: str, host: int = 1, given: str = "") -> str:
        """A `hal` command on a host; its output."""
        done = subprocess.run(
            self.hosts.command(host, [*hal_command(), *words]),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            timeout=60,
        )
        assert done.returncode == 0, f"hal {' '.join(words)}: {done.stderr}"
        return done.stdout

    def start_service(self, name: str) -> None:
        assert name not in self.services, f"{name} runs already"
        words = ["daemon", str(self.configuration)]
        if name != DAEMON:
            words = ["agent", str(self.configuration), "--node", name, "--state", str(self.node_state(name))]
        self.services[name] = self.start_on(1 if name == DAEMON else self.host_of(name), name, words)
        if name == DAEMON:
            self.service = self.services[name]

    def start_on(self, host: int, name: str, words: list[str]) -> int:
        """A `hal` service on that host; its log is named after it."""
        argv = self.hosts.command(host, [*hal_command(), *words])
        environment = {**self.environment, **self.extra_environment}
        return self.tree.start(argv, self.log_of(name), environment, directory=self.directory)

    def metrics(self) -> str:
        """What the daemon counts."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: hal\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def cut(self, node: str) -> None:
        self.hosts.cut(self.host_of(node))

    def restore(self, node: str) -> None:
        self.hosts.restore(self.host_of(node))

    def status_of(self, node: str) -> str:
        nodes = self.get("/v1/nodes")["nodes"]
        return str(next(each["status"] for each in nodes if each["name"] == node))

    def until_status(self, node: str, status: str, timeout_s: float = 60.0) -> None:
        self.tree.until(f"{node} is {status}", lambda: self.status_of(node) == status, timeout_s)

    def host_of(self, node: str) -> int:
        return self.nodes.index(node) + 2

    def node_state(self, node: str) -> Path:
        return self.directory / "nodes" / node

    def _is_open(self) -> bool:
        probe = self.hosts.command(1, ["bash", "-c", f"exec 3<>/dev/tcp/{self.hosts.address(1)}/{PORT}"])
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    def _configuration_text(self) -> str:
        addresses = f"10.97.{self.hosts.subnet}.[2-{self.node_count + 1}]"
        text = super()._configuration_text().replace("    memory:", f"    address: {addresses}\n    memory:")
        return (
            text
            + f"""node_timeout: {self.node_timeout}
executors:
  metal:
    listen: "{self.hosts.address(1)}:{PORT}"
    heartbeat_s: {self.heartbeat_s}
"""
        )
