"""Debian's packages, installed when they are missing. Starts no service, and leaves none behind.

Needs root and apt. `why_no_packages` says in one line what is missing, before anything is touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import SupportError

LOCK = Path("/run/lock/hal-tests-packages")
POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this program before a package may start its service; 101 means no."""


def why_no_packages(what: str, packages: Sequence[str]) -> str:
    """One line that says why they are not there and cannot be installed; empty if they are or can be."""
    absent = [name for name in packages if not is_installed(name)] if shutil.which("dpkg-query") else list(packages)
    if not absent:
        return ""
    if os.geteuid() != 0:
        return f"{what} needs root, to install Debian's packages ({', '.join(absent)} missing)"
    if shutil.which("apt-get") is None:
        return f"{what} needs Debian's packages, and this machine has no apt-get ({', '.join(absent)} missing)"
    return ""


def install(packages: Iterable[str]) -> None:
    """Install those that are missing. Raises SupportError with apt's own words if it cannot be done."""
    wanted = list(packages)
    if all(map(is_installed, wanted)):
        return
    if reason := why_no_packages(" ".join(wanted), wanted):
        raise SupportError(reason)
    with _alone(), _services_denied():
        absent = [name for name in wanted if not is_installed(name)]
        if absent:
            print(f"installing {' '.join(absent)} ...", file=sys.stderr, flush=True)
            _apt("update")
            _apt("install", "-y", "--no-install-recommends", *absent)


def is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def _apt(*arguments: str) -> None:
    """Waits for another apt to end; asks no question."""
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        words = (done.stdout + done.stderr)[-4000:]
        raise SupportError(f"{' '.join(command)}: exit code {done.returncode}\n{words}")


@contextmanager
def _alone() -> Iterator[None]:
    """Two tests at a time may miss the same package, and `apt-get update` waits for nobody."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _services_denied() -> Iterator[None]:
    """No package starts a service meanwhile. A policy that the machine already has is left as it is."""
    try:
        descriptor = os.open(POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    with os.fdopen(descriptor, "w") as file:
        file.write("#!/bin/sh\nexit 101\n")
    try:
        yield
    finally:
        POLICY.unlink()
