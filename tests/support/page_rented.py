"""A daemon with a page, one node of its own, and a pool whose machines are agents on this one; nothing costs money."""

from __future__ import annotations

import sys

import attrs

from tests.support.hal import Json
from tests.support.page_services import PageServices


@attrs.define(kw_only=True)
class PageRented(PageServices):
    """A context manager. The pool `burst` has the nodes c0 and c1, and a budget; so has the account physics in it."""

    def pool(self) -> Json:
        found: Json = self.get("/v1/pools/burst")
        return found

    def is_ready(self) -> bool:
        """The machines that can be rented are no nodes that are up."""
        try:
            return bool(self.get("/v1/nodes/n1")["status"] == "up")
        except Exception:  # noqa: BLE001  whatever keeps it from answering, it is not ready
            return False

    def _configuration_text(self) -> str:
        text = super()._configuration_text()
        text = text.replace("nodes:\n", 'nodes:\n  - {names: "c[0-1]", cpus: 2, memory: 1G}\n', 1)
        text = text.replace("    nodes: n[1-1]\n", "    nodes: n[1-1],c[0-1]\n")
        return f"""{text}
accounts:
  - name: physics
  - name: chemistry
clouds:
  static:
    state_directory: {self.directory / "cloud"}
    stop_grace_s: 5.0
    offers:
      - name: small
        nodes: [c0, c1]
        cpu_count: 2
        memory_bytes: {1 << 30}
        price_per_hour: 36
        boot_s: 1.0
        command: ["{sys.executable}", -m, hal_core.cli, agent, "{self.configuration}", --node, "{{node}}"]
pools:
  - name: burst
    cloud: static
    offers:
      - {{name: small, nodes: "c[0-1]", price_per_hour: 36, boot: 20s}}
    count_max: 2
    budget: 500
    period: 7d
    account_budgets: {{physics: {{budget: 200, period: 1d}}, chemistry: {{budget: 20}}}}
    value_per_hour: 100000
    idle: 1h
"""
