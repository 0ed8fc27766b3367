"""Where the daemon listens. The one place that knows; the daemon takes its default from here too, so both always agree.

Imports next to nothing: every `hal` command passes through here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SYSTEM_SOCKET = "/run/hal/hal.sock"


def candidates(environ: Mapping[str, str]) -> list[str]:
    """The sockets where a daemon may listen, the nearest first: this login's, this user's, the machine's."""
    found = []
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(os.path.join(environ["XDG_RUNTIME_DIR"], "hal", "hal.sock"))
    if environ.get("HOME"):
        found.append(os.path.join(environ["HOME"], ".hal", "run", "hal.sock"))
    found.append(SYSTEM_SOCKET)
    return found


def default_socket(environ: Mapping[str, str]) -> str:
    """Where a daemon listens that was not told where: HAL_SERVER, else the first candidate."""
    given = given_socket(environ)
    return given if given and "://" not in given else candidates(environ)[0]


def find_socket(environ: Mapping[str, str]) -> str:
    """Where a client looks, a path or URL: HAL_SERVER, else the first candidate that exists, else the first of all."""
    known = candidates(environ)
    return given_socket(environ) or next((path for path in known if os.path.exists(path)), known[0])


def given_socket(environ: Mapping[str, str]) -> str:
    """What HAL_SERVER says: a path (`/path`, `unix:/path` or `unix:///path`), a URL of a daemon on another machine, or
    the empty string if it is not set.

    Raises ValueError for any other kind of address.
    """
    given = environ.get("HAL_SERVER", "")
    if given.startswith(("https://", "http://")):
        from hal_core.client.remote import Remote

        return Remote(given).name
    path = given.removeprefix("unix:")
    if given.startswith("unix://"):
        path = given.removeprefix("unix://")
    if given and not path.startswith("/"):
        raise ValueError(
            f"HAL_SERVER is {given!r}; give an absolute path, such as {SYSTEM_SOCKET}, or https://host:port"
        )
    return path
