"""HAL whose nodes are pilots: a daemon that listens for agents, and a real Slurm in which they are started.

with PilotServices(slurm=slurm, node_count=2, cpus=4) as hal:
    await hal.pilots().provision("pilot", 2, "token")
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from hal_core import CloudProvider
from hal_plugin_slurm.pilots import make_pilots
from tests.support import slurm_root
from tests.support.hal import CHECKOUT, hal_command
from tests.support.hal_services import DAEMON, HalServices
from tests.support.slurm import SlurmCluster

SCRIPT = CHECKOUT / "docs" / "how-to" / "pilot.sh"


def pilot_script(own: Mapping[str, object]) -> str:
    """The one of the documentation, with the lines that a site changes."""
    text = SCRIPT.read_text()
    for name, value in own.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, f"{SCRIPT} has no line for {name}"
    return text


@attrs.define(kw_only=True)
class PilotServices(HalServices):
    """Node number k is the pilot in slot k of the only offer. With `has_pool` the daemon orders them, and gives them
    back; else nothing does."""

    slurm: SlurmCluster
    has_pool: bool = False
    port: int = attrs.field(init=False)

    def start_processes(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.configuration.write_text(self._configuration_text())
        self.state.mkdir(mode=0o700, exist_ok=True)
        words = [*hal_command(), "ca", "init", str(self.configuration)]
        subprocess.run(words, check=True, capture_output=True, env=self.environment)
        self.start_service(DAEMON)

    def wait_until_ready(self) -> None:
        """The daemon; its nodes are awaited with `wait_for_nodes`."""
        self.tree.until("the daemon answers", lambda: self._nodes_up() is not None, 60, self.watched)

    def wait_for_nodes(self, count: int) -> None:
        """Until so many pilots are connected."""
        self.tree.until(f"{count} pilots are up", lambda: self._nodes_up() == count, 120, self.watched)

    def pilots(self, **changes: Any) -> CloudProvider:
        """Made anew, as by a daemon that comes back."""
        return make_pilots(self.options() | changes)

    def options(self) -> dict[str, Any]:
        """Of the cloud `slurm`."""
        program = self.slurm.work / f"{self.directory.name}-hal"  # seen by Slurm's nodes, wherever their root is
        exports = "".join(f"export {name}={shlex.quote(text)}\n" for name, text in self.environment.items())
        outside = slurm_root.outside() if self.slurm.root else ""
        program.write_text(f'#!/bin/sh\n{exports}exec {outside}{shlex.join(hal_command())} "$@"\n')
        program.chmod(0o755)
        script = self.directory / "pilot.sh"
        own = {"hal": program, "configuration": self.configuration, "directory": self.slurm.work}
        script.write_text(pilot_script({**own, "server": f"127.0.0.1:{self.port}"}))
        token = [*hal_command(), "agent", "token", str(self.configuration), "{node}"]
        offer = {"name": "pilot", "count_max": self.node_count, "cpu_count": self.cpus, "walltime_s": 3600.0}
        return {
            "configuration": str(self.slurm.layout.configuration),
            "programs": self.slurm.programs,
            "name_prefix": "lab",
            "directory": str(self.slurm.work),
            "user_data": {"file": str(script), "join_token_command": token},
            "offers": [offer | {"memory_bytes": 1 << 30}],
        }

    def write_clouds(self, changes: Mapping[str, Any]) -> Path:
        """A configuration with the cloud in it, for `hal cloud`."""
        path = self.directory / "clouds.yaml"
        clouds = {"slurm": self.options() | dict(changes)}
        rest = self.configuration.read_text().partition("clouds: ")[0]
        path.write_text(f"{rest}clouds: {json.dumps(clouds)}\n")
        return path

    @property
    def nodes(self) -> list[str]:
        """None of ours."""
        return []

    def _nodes_up(self) -> int | None:
        return self.get("/v1/status")["nodes"].get("up", 0) if self._does_answer() else None

    def _does_answer(self) -> bool:
        try:
            self.get("/v1/status")
        except OSError:
            return False
        return True

    def _configuration_text(self) -> str:
        names = f"lab-pilot-[0-{self.node_count - 1}]"
        text = super()._configuration_text().replace(f"n[1-{self.node_count}]", names)
        text += f'executors:\n  metal:\n    listen: "127.0.0.1:{self.port}"\n'
        if self.has_pool:
            offer = {"name": "pilot", "nodes": names, "price_per_hour": 0, "boot": "30s", "life": "1h"}
            pool = {"name": "pilots", "cloud": "slurm", "offers": [offer], "idle": "1s"}
            text += f"clouds: {json.dumps({'slurm': self.options()})}\npools: {json.dumps([pool])}\n"
        return text
