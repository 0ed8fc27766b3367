"""HAL as a site runs it: `hal daemon` and one `hal agent` for each node, each a service of its own.

    with HalServices(node_count=2, cpus=16) as hal:
        hal.kill("n1"), hal.kill("daemon")
        hal.start_service("daemon"), hal.start_service("n1")

A service that ends stays ended until the test starts it again, as with a service manager that the test plays.
"""

from __future__ import annotations

import signal
from pathlib import Path

import attrs

from tests.support.hal import HalCluster, hal_command

DAEMON = "daemon"


@attrs.define(kw_only=True)
class HalServices(HalCluster):
    """A context manager. `services` maps `daemon` and the names of the nodes to the pids of what runs."""

    services: dict[str, int] = attrs.field(factory=dict, init=False)
    memory: str = "8G"
    """Of each node."""
    more_configuration: str = ""
    """Further sections of the YAML, in whole lines."""
    more_of_partition: str = ""
    """Further settings of the one partition, indented by four blanks."""
    extra_environment: dict[str, str] = attrs.field(factory=dict)
    """For services that are started from now on."""

    def start_processes(self) -> None:
        self.configuration.write_text(self._configuration_text())
        self.state.mkdir(mode=0o700, exist_ok=True)
        for name in (DAEMON, *self.nodes):
            self.start_service(name)

    def start_service(self, name: str) -> None:
        """Start it; `wait_until_ready` tells when the cluster is whole."""
        assert name not in self.services, f"{name} runs already"
        if name == DAEMON:
            words = ["daemon", str(self.configuration)]
        else:
            words = ["agent", str(self.configuration), "--node", name]
        environment = {**self.environment, **self.extra_environment}
        pid = self.tree.start([*hal_command(), *words], self.log_of(name), environment, directory=self.directory)
        self.services[name] = pid
        if name == DAEMON:
            self.service = pid

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a service and wait for its end."""
        pid = self.services.pop(name)
        self.tree.signal(pid, number)
        assert self.tree.wait_for_exits([pid], 60), f"{name} did not end by {number.name} within 60 s"

    @property
    def end_timeout_s(self) -> float:
        return 0.0  # jobs outlive a site's agents by design

    @property
    def watched(self) -> list[int]:
        return list(self.services.values())

    @property
    def nodes(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.node_count + 1)]

    @property
    def configuration(self) -> Path:
        return self.directory / "cluster.yaml"

    def log_of(self, name: str) -> Path:
        return self.log if name == DAEMON else self.directory / f"{name}.log"

    def _configuration_text(self) -> str:
        return f"""cluster: test
nodes:
  - names: n[1-{self.node_count}]
    cpus: {self.cpus}
    memory: {self.memory}
partitions:
  - name: main
    nodes: n[1-{self.node_count}]
    default: true
{self.more_of_partition}
listen:
  socket: {self.socket}
state_directory: {self.state}
{self.more_configuration}"""
