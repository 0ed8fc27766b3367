"""`hal plugin test`: everything that HAL demands of a plugin, tried out on one that is installed, or in a directory.

Each check runs in a process of its own with a deadline (trials.py): a plugin that hangs, ends the process, prints
without end or changes what belongs to everybody fails that check, and the others go on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

CHECK_S_MAX: Final = 120.0
"""For one check, starting Python included."""


@attrs.frozen
class Check:
    """`reason` says what was wrong."""

    name: str
    passed: bool
    reason: str = ""


def check_plugin(
    package: str, say: Callable[[str], None] = lambda text: None, patience_s: float = CHECK_S_MAX
) -> list[Check]:
    """All checks of a plugin: `package` is its name, its distribution's or module's, or a directory with a pyproject.

    `say` is told what is being tried; `patience_s` is for each check. A bad plugin raises nothing: see the checks.
    """
    return list(_checks(package, say, patience_s))


def _checks(package: str, say: Callable[[str], None], patience_s: float) -> Iterator[Check]:
    say("loads")
    loaded = _try(package, patience_s)
    yield Check("loads", not loaded.get("reason"), loaded.get("reason", ""))
    if "reason" in loaded:
        return
    for name, words in loaded["trials"]:
        say(name)
        reason = _try(package, patience_s, *words).get("reason", "")
        yield Check(name, not reason, reason)


def _try(package: str, patience_s: float, *words: str) -> dict[str, Any]:
    """What the child wrote, or why it did not."""
    with tempfile.TemporaryDirectory(prefix="hal-plugin-") as directory:
        answer = Path(directory) / "answer"
        command = [sys.executable, "-P", "-m", "hal_core.testing.trials", str(answer), package, *words]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                timeout=patience_s, check=False, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"reason": f"it did not end within {patience_s:.0f} s"}
        if not answer.exists():
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:500]
            return {"reason": f"it ended the process, with exit code {done.returncode}: {last}"}
        found: dict[str, Any] = json.loads(answer.read_text())
        return found
