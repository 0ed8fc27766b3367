"""`hal`: parse, one client call, print. This module is only the door: it answers `--version` before any import.

Start-up time is a promise (docs/explanation/measurements.md): a client command imports the standard library and
hal_core.client, and never trio, attrs, pluggy or an HTTP library. Heavier commands import inside their functions.
"""

from __future__ import annotations

import sys

from hal_core import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 refused or failed, 2 wrong usage, 130 Ctrl-C."""
    given = list(sys.argv[1:] if words is None else words)
    if given[:1] in (["--version"], ["-V"]):
        sys.stdout.write(f"hal {__version__}\n")
        return 0
    try:
        from hal_core.cli.dispatch import run_command

        return run_command(given)
    except KeyboardInterrupt:
        return 130
