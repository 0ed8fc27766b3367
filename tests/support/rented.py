"""A daemon, moto's EC2, and machines that boot what HAL gives them (tests/support/booted.py). Needs root.

    with RentedCluster(count_max=2) as hal:
        made = hal.provision(2)
        hal.until_up(2)

The nodes `lab-small-0` and so on are configured, and the test asks the provider; or, with `is_pool`, they are those of
a pool, for which the daemon does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import trio
import yaml

from hal_core.fleet.bootstrap import Bootstrap
from hal_core.fleet.fleet import Fleet
from hal_core.fleet.machines import MachineName
from hal_core.models.node import Node
from hal_core.planes import Instance
from hal_core.plugins import Plugins
from hal_core.wire.authority import Authority
from tests.support.booted import REGION, BootedInstances
from tests.support.hal_services import DAEMON, HalServices
from tests.support.moto import IMAGE, Moto
from tests.support.ports import free_port

CANARY = "canary5d0e2b71"
MEMORY_BYTES = 1 << 30
LEASE_S = 3600.0


@attrs.define(kw_only=True)
class RentedCluster(HalServices):
    """A context manager. The machines reach nothing but this host."""

    node_count: int = 0
    count_max: int = 2
    provider: str = "aws"
    is_pool: bool = False
    lease_s: float = LEASE_S
    notices_port: int = 0
    """Of a metadata service of EC2's kind, on all addresses."""
    port: int = attrs.field(factory=free_port, init=False)
    moto: Moto = attrs.field(init=False)
    booted: BootedInstances = attrs.field(init=False)
    _around: ExitStack = attrs.field(factory=ExitStack, init=False)

    def start_processes(self) -> None:
        self.moto = self._around.enter_context(Moto(self.directory))
        self.booted = self._around.enter_context(BootedInstances(self.tree, self.directory / "booted", self.moto.port))
        for name, text in self._secrets().items():
            (self.directory / name).write_text(text)
            (self.directory / name).chmod(0o600)
        self.configuration.write_text(self._configuration_text())
        self.state.mkdir(mode=0o700, exist_ok=True)
        done = self.run("ca", "init", str(self.configuration))
        assert done.returncode == 0, done.stderr
        self.start_service(DAEMON)

    def _leave(self) -> None:
        self._around.close()
        super()._leave()

    def cloud(self) -> Fleet:
        """The provider of the configuration, which tells machines what a daemon that rents would."""
        provider = Plugins.load({}).cloud(self.provider, self._cloud_options())
        assert isinstance(provider, Fleet)
        provider.bootstrap = self._bootstrap
        return provider

    def provision(self, count: int, token: str = "t1") -> list[Instance]:
        return list(trio.run(self.cloud().provision, "small", count, token))

    def release(self, *native_ids: str) -> None:
        trio.run(self.cloud().release, native_ids)

    def status(self) -> dict[str, str]:
        return {node["name"]: node["status"] for node in self.get("/v1/nodes")["nodes"]}

    def until_up(self, count: int) -> None:
        try:
            self.tree.until(
                f"{count} nodes are up", lambda: list(self.status().values()).count("up") == count, 120, self.watched
            )
        except Exception as error:
            raise AssertionError(self.booted.logs()) from error

    def until_gone(self) -> None:
        self.tree.until("no machine runs", lambda: not self.booted.running(), 120, self.watched)

    def everything_written(self) -> Mapping[str, bytes]:
        """What daemon, agents and jobs have left in files: logs, journal, records, outputs. Not the secrets' own files,
        and not what cloud-init keeps for root."""
        own = {self.directory / name for name in self._secrets()}
        found = (each for each in self.directory.rglob("*") if each.is_file() and each not in own)
        return {str(each): each.read_bytes() for each in found if "cloud" not in each.parts}

    def _bootstrap(self, name: MachineName) -> Bootstrap:
        token = Authority(self.state / "ca").make_token(name.node, time.time(), 600.0, "test")
        node = Node(name.node, self.cpus, MEMORY_BYTES)
        return Bootstrap(node, token.text(), time.time() + self.lease_s)

    def _secrets(self) -> dict[str, str]:
        ini = f"[default]\naws_access_key_id = {CANARY}-key\naws_secret_access_key = {CANARY}-secret\n"
        return {"credentials": ini, "key": f"{CANARY}-key", "secret": f"{CANARY}-secret"}

    def _cloud_options(self) -> dict[str, Any]:
        offer: dict[str, Any] = {"name": "small", "count_max": self.count_max, "price_per_hour": 0.02, "boot_s": 5.0}
        options: dict[str, Any] = {
            "name_prefix": "lab",
            "image": IMAGE,
            "user_data": {"server": f"{self.booted.address}:{self.port}"},
        }
        if self.notices_port:
            options["user_data"]["notices"] = f"aws=http://{self.booted.address}:{self.notices_port}"
        if self.provider == "aws":
            return options | {
                "region": REGION,
                "endpoint": f"http://127.0.0.1:{self.moto.port}",
                "credentials": {"file": str(self.directory / "credentials")},
                "offers": [offer | {"type": "t3.small", "memory_bytes": MEMORY_BYTES}],
            }
        where = {"host": "127.0.0.1", "port": self.moto.port, "secure": False, "signature_version": "4"}
        return options | {
            "driver": "tests.support.moto:MotoEc2",
            "driver_arguments": where | {"region": REGION},
            "credentials": {name: {"file": str(self.directory / name)} for name in ("key", "secret")},
            "offers": [offer | {"size": "t3.small", "cpu_count": self.cpus, "memory_bytes": MEMORY_BYTES}],
        }

    def _configuration_text(self) -> str:
        names = f"lab-small-[0-{self.count_max - 1}]"
        described: dict[str, Any] = {"cpus": self.cpus, "memory": f"{MEMORY_BYTES}B"}
        document: dict[str, Any] = {
            "cluster": "test",
            "listen": {"socket": str(self.socket)},
            "state_directory": str(self.state),
            "executors": {"metal": {"listen": f"0.0.0.0:{self.port}", "heartbeat_s": 1.0}},
            "clouds": {self.provider: self._cloud_options()},
            "nodes": [{"names": names, **described}],
            "partitions": [{"name": "main", "default": True}],
        }
        if self.is_pool:
            offer = {"name": "small", "nodes": names, "price_per_hour": 0.02, "boot": "20s"}
            pool = {"name": "burst", "cloud": self.provider, "count_max": self.count_max, "idle": "3s"}
            document |= {"pools": [pool | {"offers": [offer]}], "node_timeout": "15s"}
        return str(yaml.safe_dump(document, sort_keys=False))


def command_lines() -> str:
    """Of every process that there is."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)
