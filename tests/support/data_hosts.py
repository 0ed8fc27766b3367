"""HAL on several hosts, and datasets on a web server on another one whose link is slow.

with DataHosts(node_count=3, rate_bits=80_000_000) as hal:
    hal.add("d0", os.urandom(1 << 20))
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import attrs

from tests.support.hal_hosts import HalHosts

ORIGIN_PORT = 8000


@attrs.define(kw_only=True)
class DataHosts(HalHosts):
    """A context manager. Nothing leaves the origin faster than `rate_bits` a second; 0: as fast as it can."""

    rate_bits: int = 0
    budget: str = "100G"
    digests: dict[str, str] = attrs.field(factory=dict, init=False)

    def start_processes(self) -> None:
        self.more_configuration += f"""data:
  bandwidth: {(self.rate_bits or 80_000_000) // 8192}K
  budget: {self.budget}
localities:
  http: {{url_prefixes: ["{self.url}"]}}
"""
        self.origin.mkdir()
        self.notes.mkdir()
        if self.rate_bits:
            self.hosts.limit(self.origin_host, self.rate_bits)
        words = [sys.executable, "-m", "tests.support.data_origin", str(self.origin), str(ORIGIN_PORT), str(self.notes)]
        argv = self.hosts.command(self.origin_host, words)
        self.tree.start(argv, self.directory / "origin.log", self.environment, directory=Path(__file__).parents[2])
        super().start_processes()

    @property
    def host_count(self) -> int:
        return self.node_count + 2

    @property
    def origin_host(self) -> int:
        return self.node_count + 2

    @property
    def url(self) -> str:
        return f"http://{self.hosts.address(self.origin_host)}:{ORIGIN_PORT}/"

    @property
    def origin(self) -> Path:
        return self.directory / "origin"

    @property
    def notes(self) -> Path:
        """What the origin writes (tests/support/data_origin.py)."""
        return self.directory / "notes"

    def add(self, name: str, content: bytes) -> None:
        """A dataset of two files, with its origin as the one replica."""
        half = len(content) // 2
        parts = {f"{name}/a": content[:half], f"{name}/deep/b": content[half:]}
        files = []
        for path, part in parts.items():
            place = self.origin / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(part)
            digest = hashlib.sha256(part).hexdigest()
            files.append({"path": path.removeprefix(f"{name}/"), "size_bytes": len(part), "sha256": digest})
        self.digests[name] = hashlib.sha256(content).hexdigest()
        manifest = self.directory / f"{name}.json"
        manifest.write_text(json.dumps(files))
        done = self.run("data", "add", name, "--manifest", str(manifest), "--replica", f"{self.url}{name}")
        assert done.returncode == 0, done.stderr
        self.begin_anew()  # the daemon may have closed a connection that idled meanwhile

    def submit_reader(self, name: str, seconds: float, *options: tuple[str, str]) -> int:
        """A job that says the digest of what it finds, and then computes for a while."""
        script = f'cd "$HAL_DATASET_{name.upper()}" && cat a deep/b | sha256sum; sleep {seconds}'
        given = [("inputs", f"dataset:{name}"), ("output", f"{self.work}/out.%j"), *options]
        return self.submit("sh", "-c", script, options=given)

    def said(self, job_id: int) -> str:
        """The digest that the job has found; empty: none."""
        path = self.work / f"out.{job_id}"
        return path.read_text().partition(" ")[0] if path.exists() else ""

    def crossings(self) -> list[tuple[float, int]]:
        """(time, bytes that had left the origin by then)."""
        return [(float(time_s), int(total)) for time_s, total in self._noted("sent")]

    def given(self) -> dict[str, int]:
        """Path of a file -> how many bytes of it the origin gave, in all its answers."""
        found: Counter[str] = Counter()
        for path, byte_count in self._noted("given"):
            found[path] += int(byte_count)
        return dict(found)

    def _noted(self, name: str) -> list[list[str]]:
        path = self.notes / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
