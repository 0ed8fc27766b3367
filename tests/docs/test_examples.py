"""The examples of the documentation are programs that run: a marked code block is written to a file and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.support.hal import HalCluster
from tests.tidy.tree import ROOT


def example(page: str, name: str) -> str:
    """The code block after `<!-- example: name -->`."""
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found, f"no example {name} in {page}"
    return found.group(1)


def test_the_client_of_the_how_to_talks_to_a_daemon():
    with HalCluster() as cluster:
        done = subprocess.run(
            [sys.executable, "-c", example("docs/how-to/use-from-python.md", "client")],
            env={**os.environ, "HAL_SERVER": str(cluster.socket), "PYTHONPATH": str(ROOT)},
            cwd=cluster.directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("JobState.FAILED EndKind.EXITED 3\n")
    assert "did you mean 'time'" in done.stdout
    assert done.stdout.endswith("2 of the sweep ended well\n")


def test_the_engine_of_the_how_to_loads_and_keeps_the_contract(tmp_path):
    page = "docs/how-to/write-an-engine.md"
    (tmp_path / "my_widest_engine.py").write_text(example(page, "widest"))
    test = "from my_widest_engine import Widest\n" + example(page, "widest-test")
    (tmp_path / "check_it.py").write_text(f"{test}\n\ntest_widest_keeps_the_contract()\n")
    info = tmp_path / "my_widest_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-widest-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hal]\nwidest = my_widest_engine\n")
    (tmp_path / "load_it.py").write_text(
        "from hal_core.plugins import Plugins\nassert 'widest' in Plugins.load({}).names('engine')\n"
    )
    view = "from hal_core.testing import check_engine\nfrom my_widest_engine import Widest\n" + example(
        page, "shortest-first"
    )
    (tmp_path / "check_both.py").write_text(f"{view}\n\ncheck_engine(lambda: ShortestFirst(Widest()))\n")
    for program in ("load_it.py", "check_it.py", "check_both.py"):
        done = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


SESSIONS = {
    "session": ["100000 7.0", "24995000", "ValueError('math domain error')", "3628800"],
    "session-progress": ["34", "5"],
    "session-shared": ["[1, None] 3", "[3]", "4"],
    "session-async": ["120", "1.0", "2.0", "3.0", "[4.0, 5.0]"],
}


@pytest.mark.parametrize("name", SESSIONS)
def test_the_sessions_of_the_how_to_run(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", example("docs/how-to/run-a-session.md", name)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == SESSIONS[name]
