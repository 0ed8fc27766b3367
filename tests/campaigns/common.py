"""What all campaigns share: options, the seed that repeats one, the report. Exit code 1 if a promise was broken."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from typing import Any

Figures = dict[str, Any]


class Campaign:
    """One run of a campaign. `problems` are broken promises, each a sentence."""

    def __init__(self, name: str, description: str | None) -> None:
        self.parser = argparse.ArgumentParser(prog=f"python -m tests.campaigns.{name}", description=description)
        self.parser.add_argument("--seed", type=int, default=None, help="repeat the run that printed this seed")
        self.parser.add_argument("--json", action="store_true", help="print one JSON object")
        self.name = name
        self.seed = 0
        self.given = argparse.Namespace()
        self.problems: list[str] = []

    def main(self, measure: Callable[[Campaign], Figures]) -> None:
        """Parse, measure, print, exit."""
        self.given = self.parser.parse_args()
        self.seed = random.SystemRandom().randrange(1 << 32) if self.given.seed is None else self.given.seed
        frame: Figures = {
            "campaign": self.name,
            "seed": self.seed,
            "begin_time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "python": platform.python_version(),
            "cpu_count": os.cpu_count(),
        }
        begin_s = time.perf_counter()
        figures = frame | measure(self) | {"problems": self.problems, "took_s": round(time.perf_counter() - begin_s, 1)}
        print(json.dumps(figures) if self.given.json else table(figures), flush=True)
        sys.exit(1 if self.problems else 0)


def table(figures: Figures) -> str:
    """One figure in a line, for people."""
    width = max(len(name) for name in figures)
    return "\n".join(f"{name:{width}}  {_text(value)}" for name, value in figures.items())


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return "".join(f"\n  {part}" for part in value) or "none"
    return str(value)
