"""Another generation of Slurm: its programs are those of a Debian in a folder (debootstrap), run through chroot.

Beside the daemons of the machine itself (munge, MariaDB): what they say is the same for both. A cluster's directory is
seen at the same path within the folder. Needs root, as the cluster does.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

RELEASE: Final = "trixie"
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = (
    *("munge", "slurm-client", "slurmctld", "slurmd", "slurmdbd", "slurmrestd"),
    *("slurm-wlm-jwt-plugin", "slurm-wlm-mysql-plugin"),
    "procps",  # pilot.sh looks for processes
)
USERS: Final = {"slurmctld": "slurm:slurm", "slurmdbd": "slurm:slurm", "slurmrestd": "nobody:nogroup"}
"""Who its daemons run as; all other programs as root."""
PROGRAMS: Final = (
    *("slurmctld", "slurmdbd", "slurmrestd", "slurmd"),
    *("sacct", "sacctmgr", "salloc", "sbatch", "scancel", "scontrol", "sdiag", "sinfo", "squeue", "srun"),
)


def make_root(root: Path) -> None:
    """The folder with that Debian, if it is not there yet: about a minute."""
    if (root / "usr/sbin/slurmctld").exists():
        return
    words = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, str(root), MIRROR]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def write_wrappers(root: Path, folder: Path) -> None:
    """Programs for PATH that are those of the folder, in the directory where they are called if it is there too."""
    folder.mkdir()
    for name in PROGRAMS:
        user = f"--userspec={USERS[name]} " if name in USERS else ""
        run = f"""exec chroot {user}{root} sh -c 'cd "$0" 2>/dev/null; exec "$@"' "$PWD" {name} "$@"\n"""
        (folder / name).write_text(f"#!/bin/sh\n{run}")
        (folder / name).chmod(0o755)


def mount(root: Path, base: Path) -> None:
    """Nothing of the machine's own is mounted: whoever removes the folder after a crash removes no more than that. The
    devices in it are debootstrap's."""
    if not (root / "proc/self").exists():
        subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    target = root / str(base).lstrip("/")
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(base), str(target)], check=True)


def outside() -> str:
    """Before a command: a job of root leaves the folder, and what it runs then is the machine's own."""
    return f"/usr/sbin/chroot /proc/{os.getpid()}/root "


def unmount(root: Path, base: Path) -> None:
    target = root / str(base).lstrip("/")
    subprocess.run(["umount", "--lazy", str(target)], check=True)
    subprocess.run(["umount", "--lazy", str(root / "proc")], check=True)
    target.rmdir()
