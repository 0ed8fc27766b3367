"""A daemon whose web page can be opened on a port of this machine, and links to it that bring a token."""

from __future__ import annotations

from pathlib import Path

import attrs

from tests.support.hal_services import HalServices
from tests.support.ports import free_port


@attrs.define(kw_only=True)
class PageServices(HalServices):
    """A context manager."""

    port: int = attrs.field(init=False)

    def start_processes(self) -> None:
        self.port = free_port()
        self.reports.mkdir()
        super().start_processes()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def reports(self) -> Path:
        return self.directory / "reports"

    def link(self) -> str:
        """As `hal page` prints it."""
        made = self.run("page", "--lifetime", "10m")
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def _configuration_text(self) -> str:
        more = f"listen:\n  address: 127.0.0.1:{self.port}\n  reports: {self.reports}\n"
        return super()._configuration_text().replace("listen:\n", more)
