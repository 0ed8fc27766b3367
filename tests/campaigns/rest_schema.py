"""Schemathesis over the OpenAPI document, on a real daemon's port: whatever the document allows, and forbids, is sent.

    python -m tests.campaigns.rest_schema [--examples 100] [--phases examples,coverage,fuzzing,stateful]

It needs `pip install schemathesis` (4.3 or later). The token is given in the environment, never on a command line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import attrs

from tests.campaigns.common import Campaign, Figures
from tests.support.hal_services import HalServices
from tests.support.ports import free_port

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("ignored_auth", "use_after_free"),
)
"""What is wrong by the document and yet taken is looked for by tests/unit/data/bad_inputs.yaml: texts such as a time
limit have a grammar that a JSON schema cannot tell."""
RESPONSE_S_MAX = 5.0


@attrs.define(kw_only=True)
class PortServices(HalServices):
    """A daemon that also listens on a port of this machine."""

    port: int = attrs.field(factory=free_port, init=False)

    def _configuration_text(self) -> str:
        return super()._configuration_text().replace("listen:\n", f"listen:\n  address: 127.0.0.1:{self.port}\n")


def main() -> None:
    campaign = Campaign("rest_schema", __doc__)
    campaign.parser.add_argument("--examples", type=int, default=100, help="for each operation")
    campaign.parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    campaign.main(measure)


def measure(campaign: Campaign) -> Figures:
    with PortServices(node_count=1, cpus=2) as hal:
        done = run(hal, campaign.given.examples, campaign.given.phases, campaign.seed)
        is_alive = hal.is_ready()
        bugs = hal.log.read_text().count("bug: ")
    if done.returncode:
        campaign.problems.append(
            f"schemathesis ended with {done.returncode}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
        )
    if bugs or not is_alive:
        campaign.problems.append(
            f"the daemon logged {bugs} bugs" if is_alive else "the daemon does not answer any more"
        )
    found = re.search(r"(\d+) generated", done.stdout)
    return {
        "examples": campaign.given.examples,
        "phases": campaign.given.phases,
        "cases": int(found[1]) if found else 0,
    }


def run(hal: PortServices, examples: int, phases: str, seed: int) -> subprocess.CompletedProcess[str]:
    token = hal.run("token").stdout.strip()
    settings = hal.directory / "schemathesis.toml"
    settings.write_text('headers = { Authorization = "Bearer ${HAL_TEST_TOKEN}" }\n')
    words = ["--config-file", str(settings), "run", f"http://127.0.0.1:{hal.port}/v1/openapi.json"]
    words += ["--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples), "--seed", str(seed)]
    words += ["--exclude-path", "/v1/events", "--max-response-time", str(RESPONSE_S_MAX), "--continue-on-failure"]
    words += ["--request-timeout", "30", "--suppress-health-check", "all", "--no-color"]
    return subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), *words],
        env={**os.environ, "HAL_TEST_TOKEN": token},
        cwd=hal.directory,
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    main()
