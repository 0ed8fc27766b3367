"""HAL as a site runs it, whose nodes are all rented: from the static cloud, as agents on this machine.

    with HalRented(rented=4) as hal:
        hal.submit("/bin/true", options=[("time", "1")])

Nothing is there before a job waits. A machine that the daemon rents is a child of the daemon's and outlives it.
"""

from __future__ import annotations

import json
import sys

import attrs

from tests.support.hal import Json
from tests.support.hal_services import HalServices


@attrs.define(kw_only=True)
class HalRented(HalServices):
    """A context manager. The nodes are c0, c1 ... of 2 CPUs; the pool is called burst, its one offer small."""

    node_count: int = 0
    rented: int = 4
    terms: str = ""
    """Further settings of the pool, in whole lines, indented by four blanks."""

    def is_ready(self) -> bool:
        try:
            return bool(self.get("/v1/status"))
        except Exception:  # noqa: BLE001  whatever keeps it from answering, it is not ready
            return False

    def pool(self) -> Json:
        """What `hal cloud pools` tells of the one pool."""
        found: Json = self.get("/v1/pools/burst")
        return found

    def events(self, kind: str) -> list[Json]:
        """Those of that kind, of the whole journal."""
        lines = self.run("events", "--after", "0", "--json").stdout.splitlines()
        return [event["data"] for event in map(json.loads, lines) if event["event"] == kind]

    def _configuration_text(self) -> str:
        return f"""cluster: test
nodes:
  - names: c[0-{self.rented - 1}]
    cpus: 2
    memory: 1G
partitions:
  - name: main
clouds:
  static:
    state_directory: {self.directory / "cloud"}
    stop_grace_s: 5.0
    offers:
      - name: small
        nodes: [{", ".join(f"c{number}" for number in range(self.rented))}]
        cpu_count: 2
        memory_bytes: {1 << 30}
        price_per_hour: 0.5
        boot_s: 1.0
        command: ["{sys.executable}", -m, hal_core.cli, agent, "{self.configuration}", --node, "{{node}}"]
pools:
  - name: burst
    cloud: static
    offers:
      - name: small
        nodes: c[0-{self.rented - 1}]
        price_per_hour: 0.5
        boot: 20s
    idle: 1s
{self.terms}
node_timeout: 60s
listen:
  socket: {self.socket}
state_directory: {self.state}
{self.more_configuration}"""
