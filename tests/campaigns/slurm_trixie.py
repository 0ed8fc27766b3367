"""The bridge against the Slurm of Debian 13 (24.11, whose REST payloads have the newer shape): all of its suite, then
jobs of every kind compared with `sacct -P`. The Debian is put into a folder by debootstrap, which takes about a minute.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import trio

from tests.campaigns.common import Campaign, Figures, progress
from tests.campaigns.slurm_ends import compare
from tests.support import debian_packages, slurm_root
from tests.support.hal import CHECKOUT
from tests.support.slurm import SlurmCluster

SUITE = "hal_plugin_slurm/tests"
VARIABLE = "HAL_SLURM_ROOT"


def measure(campaign: Campaign) -> Figures:
    debian_packages.install(("debootstrap",))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(campaign.given.root or f"{directory}/{slurm_root.RELEASE}")
        progress(f"Debian {slurm_root.RELEASE} in {root}")
        slurm_root.make_root(root)
        figures = _suite(root, campaign)
        with SlurmCluster(node_count=4, cpus=8, gpus=2, has_accounting=True, has_rest=True, root=str(root)) as slurm:
            figures |= {"version": slurm.run("scontrol", "--version").strip()}
            os.environ["PATH"] = slurm.environment["PATH"]
            return figures | trio.run(compare, slurm, campaign.given.jobs, campaign)


def _suite(root: Path, campaign: Campaign) -> Figures:
    progress("the bridge's suite")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", SUITE]
    done = subprocess.run(
        words, cwd=CHECKOUT, env={**os.environ, VARIABLE: str(root)}, capture_output=True, text=True, check=False
    )
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    if done.returncode:
        campaign.problems += [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return {"tests": counts}


def main() -> None:
    campaign = Campaign("slurm_trixie", __doc__)
    campaign.parser.add_argument("--jobs", type=int, default=300)
    campaign.parser.add_argument("--root", default="", help="a folder to use, or to make (default: one for this run)")
    campaign.main(measure)


if __name__ == "__main__":
    main()
