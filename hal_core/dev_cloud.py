"""`hal dev --cloud`: a pool of pretended machines beside the cluster for trying out: bursting is seen in a minute.

The machines are agents on this one, made by the static cloud; nothing costs anything. The configuration is written into
the state directory, for whoever wants to see what a pool looks like.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

import yaml

from hal_core.config.configuration import Configuration
from hal_core.configured import AGENT_SOCKET_NAME, read_with_plugins
from hal_core.errors import HalError
from hal_core.plugins import Plugins

logger = logging.getLogger("hal.renting")

FILE_NAME: Final = "cluster.yaml"
POOL: Final = "burst"
RENTED: Final = ("rented1", "rented2", "rented3")
CPUS, MEMORY_BYTES = 1, 512 << 20
PRICE_PER_HOUR: Final = 0.10
BOOT_S: Final = 5.0
HINTS: Final = (
    "A pool may rent three machines more (pretended, and free). Ask for more than the one node has:",
    "  for i in 1 2 3 4; do hal submit --time 2 -- sleep 30; done",
    f"  hal cloud plan {POOL}; sleep 10; hal cloud pools {POOL}; hal queue; hal watch",
)


def write_configuration(directory: Path, socket: Path) -> tuple[Configuration, Plugins]:
    """A node of one CPU, and a pool of three such machines."""
    path = directory / FILE_NAME
    path.write_text(yaml.safe_dump(_document(directory, socket), sort_keys=False))
    return read_with_plugins(path)


async def release_all(configuration: Configuration, plugins: Plugins) -> None:
    """End every machine that there still is: the daemon leaves what it has rented when it ends."""
    for name, options in configuration.clouds.items():
        provider = plugins.cloud(name, options)
        try:
            await provider.release([each.native_id for each in await provider.instances()])
        except HalError as error:
            logger.error("machines of cloud %s are left: %s", name, error)


def _document(directory: Path, socket: Path) -> dict[str, object]:
    size = {"cpus": CPUS, "memory": f"{MEMORY_BYTES}B"}
    command = [sys.executable, "-m", "hal_core.agent", "--name", "{node}", "--cpus", str(CPUS)]
    command += ["--memory-bytes", str(MEMORY_BYTES), "--directory", str(directory / "nodes" / "{node}")]
    command += ["--socket", str(directory / AGENT_SOCKET_NAME), "--ephemeral"]
    machine = {"name": "small", "nodes": list(RENTED), "cpu_count": CPUS, "memory_bytes": MEMORY_BYTES}
    machine |= {"price_per_hour": PRICE_PER_HOUR, "boot_s": BOOT_S, "command": command}
    offer = {"name": "small", "nodes": ",".join(RENTED), "price_per_hour": PRICE_PER_HOUR, "boot": f"{BOOT_S:g}s"}
    pool = {"name": POOL, "cloud": "static", "offers": [offer], "idle": "20s", "budget": 10}
    pool |= {"count_max": len(RENTED), "value_per_hour": 1}
    return {
        "cluster": "dev",
        "listen": {"socket": str(socket)},
        "state_directory": str(directory),
        "nodes": [{"names": "own1", **size}, {"names": "rented[1-3]", **size}],
        "partitions": [{"name": "main", "default": True}],
        "clouds": {"static": {"state_directory": str(directory / "cloud"), "offers": [machine]}},
        "pools": [pool],
    }
