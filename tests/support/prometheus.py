"""Debian's Prometheus and promtool, for tests: one server that scrapes one target, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.debian_packages import install, why_no_packages
from tests.support.ports import free_port
from tests.support.processes import ProcessTree

PACKAGES = ("prometheus",)
ANSWERS_WITHIN_S = 60.0


def why_no_prometheus() -> str:
    """One line that says what is missing; empty if nothing is."""
    return why_no_packages("Prometheus", PACKAGES)


def promtool(*words: str, text: str = "") -> tuple[int, str]:
    """Exit code, and all that it said."""
    install(PACKAGES)
    done = subprocess.run(
        ["promtool", *words], input=text, capture_output=True, text=True, check=False, timeout=ANSWERS_WITHIN_S
    )
    return done.returncode, done.stdout + done.stderr


class Prometheus:
    """A context manager. It scrapes `address` every second as the owner of the token, with these rules."""

    def __init__(self, directory: Path, address: str, token: str, rules: Path) -> None:
        install(PACKAGES)
        self._directory = directory
        self._port = free_port()
        (directory / "token").write_text(token)
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "hal",
                    "authorization": {"credentials_file": str(directory / "token")},
                    "static_configs": [{"targets": [address]}],
                }
            ],
        }
        (directory / "prometheus.yml").write_text(json.dumps(configuration))
        self.tree = ProcessTree()

    def __enter__(self) -> Self:
        self.tree.__enter__()
        argv = [
            "/usr/bin/prometheus",
            f"--config.file={self._directory}/prometheus.yml",
            f"--storage.tsdb.path={self._directory}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        log = self._directory / "prometheus.log"
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._directory)}
        self._pid = self.tree.start(argv, log, environment, directory=self._directory)
        try:
            self.tree.until("Prometheus is ready", self._is_ready, ANSWERS_WITHIN_S, [self._pid])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tree.stop([self._pid], grace_s=5)
        self.tree.__exit__(None, None, None)

    def query(self, expression: str) -> list[Any]:
        """The samples of an instant query. Raises what the server says is wrong with it."""
        answer = self._get("/api/v1/query", query=expression)
        assert answer["status"] == "success", answer
        found: list[Any] = answer["data"]["result"]
        return found

    def until(self, expression: str) -> None:
        """Wait until the query has a sample."""
        self.tree.until(expression, lambda: bool(self.query(expression)), ANSWERS_WITHIN_S, [self._pid])

    def get(self, path: str) -> Any:
        return self._get(path)["data"]

    def _is_ready(self) -> bool:
        try:
            return bool(self._get("/api/v1/status/buildinfo"))
        except (OSError, ValueError):  # "Service Unavailable", in words, while it reads its own journal.
            return False

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWERS_WITHIN_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
