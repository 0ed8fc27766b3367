"""Five realistic clusters, each as its administrator would write it: checked, simulated for a day, pictured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.cli import hal

GALLERY = Path(__file__).parent / "data" / "gallery"
PROCESSORS = {"laptop": 8, "lab": 3840, "gpu-pods": 10_368, "three-sites": 6144, "slurm-site": 8192}
"""As many as the largest jobs may ask for."""
JOBS = 300
DAY_S = 86_400


def test_every_cluster_of_the_gallery_is_tried():
    assert {path.stem for path in GALLERY.glob("*.yaml")} == PROCESSORS.keys()


@pytest.mark.parametrize("name", PROCESSORS)
def test_it_is_good_and_a_day_of_jobs_runs_on_it(name, tmp_path):
    path, report = GALLERY / f"{name}.yaml", tmp_path / "report.html"
    checked = hal("/nowhere", "config", "check", str(path))
    assert (checked.code, ": good (" in checked.out) == (0, True), checked
    jobs = f"lublin:jobs={JOBS},procs={PROCESSORS[name]},seed=1,load=2"
    done = hal("/nowhere", "simulate", jobs, "--cluster", str(path), "--report", str(report), "--json")
    assert done.code == 0, done
    (run,) = json.loads(done.out)["runs"]
    assert (run["jobs"], run["skipped"]) == (JOBS, 0)
    assert run["makespan_s"] > DAY_S
    assert run["utilization"] > 0
    page = report.read_text()
    assert page.count("<svg") > 1
    assert not re.search(r"(src|href)=\"https?:", page), "it needs nothing from outside"
