"""Where a user's sessions are found: a private directory for each, with its socket, and the journal if it has one.

~/.local/state/hal/sessions/ID/    socket     the broker listens here
                                   options    what the broker was told, to start it again
                                   journal    of a recoverable session
                                   log        what its tasks print
                                   life       what happened to it, in a few lines
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from hal_core.errors import NotFound, did_you_mean
from hal_core.wire.private_files import make_private_directory

SOCKET: Final = "socket"
OPTIONS: Final = "options"
JOURNAL: Final = "journal"
LOG: Final = "log"
LIFE: Final = "life"
REMOVED: Final = "."
"""Before the name of a session that is being removed."""


def sessions_directory(environ: Mapping[str, str]) -> Path:
    """XDG_STATE_HOME, else ~/.local/state, and `hal/sessions` below it."""
    state = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME", "/"), ".local", "state")
    return Path(state) / "hal" / "sessions"


def make_directory(environ: Mapping[str, str], session: str) -> Path:
    path = sessions_directory(environ) / session
    make_private_directory(path)
    return path


def find_directory(environ: Mapping[str, str], session: str) -> Path:
    """Of a session that there is; the first letters of its id are enough. Raises NotFound."""
    known = known_sessions(environ)
    fitting = [each for each in known if each.startswith(session)]
    if session not in known and len(fitting) != 1:
        several = f"; several begin so: {', '.join(fitting)}" if fitting else did_you_mean(session, known)
        raise NotFound(f"you have no session {session!r}{several}; `hal sessions` lists them")
    return sessions_directory(environ) / (session if session in known else fitting[0])


def known_sessions(environ: Mapping[str, str]) -> list[str]:
    """Ids, whether they run or only have a journal."""
    base = sessions_directory(environ)
    if not base.is_dir():
        return []
    return sorted(entry.name for entry in base.iterdir() if not entry.name.startswith(REMOVED) and entry.is_dir())


def remove_directory(path: Path) -> None:
    """At once, or never: half of a session, without its journal, would begin anew. What a crash left goes with it."""
    with contextlib.suppress(OSError):
        path.rename(path.with_name(REMOVED + path.name))
    for removed in path.parent.glob(f"{REMOVED}*"):
        shutil.rmtree(removed, ignore_errors=True)


def connect(directory: Path) -> socket.socket | None:
    """To the session's broker; None if there is none."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(directory) as path:
            connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def listen(directory: Path) -> socket.socket:
    """The broker's end. What a dead one left is replaced; the caller has made sure that there is no other."""
    listener = socket.socket(socket.AF_UNIX)
    (directory / SOCKET).unlink(missing_ok=True)
    with _short(directory) as path:
        listener.bind(path)
    listener.listen()
    return listener


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """The socket's path, however deep the directory: Linux allows 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
