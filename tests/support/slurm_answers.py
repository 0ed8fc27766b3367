"""A command of Slurm's that answers with given rows, whatever it is asked, with the separator that it is told: for
tests of what is read from answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hal_plugin_slurm.command_line import CommandLine
from hal_plugin_slurm.shell import Shell

PROGRAM = """#!{python}
import re, sys
separator = re.search(r"\\|[0-9a-f]+\\|", " ".join(sys.argv))[0]
for row in {rows!r}:
    print("".join(f"{{text}}{{separator}}" for text in row))
"""


def answering(directory: Path, name: str, rows: Sequence[Sequence[str]]) -> CommandLine:
    """The way of the commands into a Slurm whose program `name` is that."""
    program = directory / name
    program.write_text(PROGRAM.format(python=sys.executable, rows=rows))
    program.chmod(0o755)
    return CommandLine(Shell("", {"PATH": f"{directory}:/usr/bin:/bin"}, 60.0), "root")
