"""Debian's Slurm packages, installed when they are missing. Starts nothing, and leaves no service behind.

Needs root and apt. `why_impossible` says in one line what is missing, before anything is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import SupportError

BASE_PACKAGES = ("munge", "slurm-client", "slurm-wlm-basic-plugins", "slurmctld", "slurmd")
REST_PACKAGES = ("slurm-wlm-jwt-plugin", "slurmrestd")
ACCOUNTING_PACKAGES = ("mariadb-client-core", "mariadb-server-core", "slurm-wlm-mysql-plugin", "slurmdbd")

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this program before a package may start its service; 101 means no."""


def why_impossible() -> str:
    """One line that says what is missing to run a real Slurm here; empty if nothing is."""
    if os.geteuid() != 0:
        return "a real Slurm needs root: munge and slurmctld run as users of their own"
    absent = [name for name in BASE_PACKAGES if not is_installed(name)] if shutil.which("dpkg-query") else ["dpkg"]
    if absent and shutil.which("apt-get") is None:
        return f"a real Slurm needs Debian's packages, and this machine has no apt-get ({', '.join(absent)} missing)"
    return ""


def install(packages: Iterable[str]) -> None:
    """Install those that are missing. Raises SupportError with apt's own words if it cannot be done."""
    absent = [name for name in packages if not is_installed(name)]
    if not absent:
        return
    if reason := why_impossible():
        raise SupportError(reason)
    print(f"installing {' '.join(absent)} ...", file=sys.stderr, flush=True)
    with _services_denied():
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
