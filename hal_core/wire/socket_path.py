"""How long the path of a Unix socket may be: told by name, before the system says it in words for programmers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from hal_core.errors import Refused

PATH_BYTES_MAX: Final = 107
"""`sun_path` of Linux (unix(7)), without the final NUL."""
NEW: Final = ".new"
"""A listening socket is made under its name with this behind it, and moved to its place when nobody can slip in."""


def check_socket_path(path: Path, place: str) -> None:
    """Raises Refused if nobody could listen there. `place` is the setting that the path comes from."""
    limit = PATH_BYTES_MAX - len(NEW)
    if (count := len(os.fsencode(path))) > limit:
        raise Refused(
            f"{place}: paths of sockets have at most {limit} bytes here, and {path} has {count}: choose a "
            "shorter directory"
        )
