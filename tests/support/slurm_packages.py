"""Debian's packages of a real Slurm. `why_impossible` says in one line what is missing, before anything is touched."""

from __future__ import annotations

import os

from tests.support.debian_packages import install as install, why_no_packages

BASE_PACKAGES = ("munge", "slurm-client", "slurm-wlm-basic-plugins", "slurmctld", "slurmd")
REST_PACKAGES = ("slurm-wlm-jwt-plugin", "slurmrestd")
ACCOUNTING_PACKAGES = ("mariadb-client-core", "mariadb-server-core", "slurm-wlm-mysql-plugin", "slurmdbd")


def why_impossible() -> str:
    """One line that says what is missing to run a real Slurm here; empty if nothing is."""
    if os.geteuid() != 0:
        return "a real Slurm needs root: munge and slurmctld run as users of their own"
    return why_no_packages("a real Slurm", BASE_PACKAGES)
