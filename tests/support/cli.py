"""Runs `hal` as a whole process, as a person would, against a daemon of the test's choice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "hal_core.cli")
ENDS_WITHIN_S = 60.0


def environment(server: Path | str, **more: str) -> dict[str, str]:
    """A small environment of its own: nothing of the developer's shell leaks into what the tests see."""
    return {"PATH": os.environ["PATH"], "HAL_SERVER": str(server), "PYTHONPATH": str(ROOT), "TZ": "UTC", **more}


def hal(server: Path | str, *words: str, env: dict[str, str] | None = None, **options: Any) -> HalResult:
    """Run to the end. `options` go to subprocess.run."""
    done = subprocess.run(
        [*COMMAND, *words],
        env=environment(server, **(env or {})),
        capture_output=True,
        timeout=ENDS_WITHIN_S,
        check=False,
        **{"stdin": subprocess.DEVNULL, **options} if "input" not in options else options,
    )
    return HalResult(done.returncode, done.stdout.decode(), done.stderr.decode())


class HalResult:
    """How it ended. Nothing that HAL prints may ever be a traceback, so that is checked for every run."""

    def __init__(self, code: int, out: str, err: str) -> None:
        assert "Traceback" not in err, err
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"HalResult(code={self.code}, out={self.out!r}, err={self.err!r})"


def start_hal(server: Path | str, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start and leave running; the caller ends it."""
    return subprocess.Popen(
        [*COMMAND, *words],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )
