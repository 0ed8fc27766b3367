"""`python -m tests.support.as_user USER WORDS...`: the `hal` command as another user, started by root.

The checkout and the interpreter of a developer are often closed to other users, so everything is imported first, and
then the process becomes the user, before it connects to anything or touches a file.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  looked for only when a host name is
import importlib
import os
import pkgutil
import pwd
import ssl  # noqa: F401  imported by the client when it is needed
import sys
import termios  # noqa: F401  only for terminals
import tty  # noqa: F401

import hal_core.cli
import hal_core.client


def main() -> None:
    user = pwd.getpwnam(sys.argv[1])
    for package in (hal_core.cli, hal_core.client):
        for found in pkgutil.iter_modules(package.__path__):
            if found.name != "__main__":
                importlib.import_module(f"{package.__name__}.{found.name}")
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    os.chdir("/tmp")
    sys.exit(hal_core.cli.main(sys.argv[2:]))


if __name__ == "__main__":
    main()
