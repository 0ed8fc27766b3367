"""`hal plugin new` and `hal plugin test`: what is begun keeps all contracts, and what breaks one is found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hal_core.cli.dispatch import run_command
from hal_core.errors import Conflict, InvalidInput
from hal_core.plugins import PLANES
from hal_core.scaffold.package import code, write_package
from hal_core.testing import check_plugin

HAL = [sys.executable, "-m", "hal_core.cli"]


def python(directory: Path, *words: str | Path) -> str:
    """A program of a third party, who has HAL and the plugin and none of this folder."""
    environment = {**os.environ, "PYTHONPATH": str(directory), "COLUMNS": "200"}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=directory, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("plane", PLANES)
def test_what_is_begun_keeps_all_contracts(plane, tmp_path):
    written = write_package("my-first", plane, tmp_path / "made")
    assert {path.name for path in written} == {
        "pyproject.toml", "README.md", "__init__.py", "py.typed", "test_my_first.py",
    }  # fmt: skip
    checks = check_plugin(str(tmp_path / "made"))
    assert len(checks) == 3
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize(("plane", "lines_max"), [("engine", 25), ("executor", 80)])
def test_a_third_party_builds_a_wheel_and_installs_it(plane, lines_max, tmp_path):
    name = f"outside-{plane}"
    write_package(name, plane, tmp_path / "source")
    assert len(code(name, plane).splitlines()) <= lines_max
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels"]
    python(tmp_path, *build, tmp_path / "source")
    (wheel,) = (tmp_path / "wheels").iterdir()
    installed = tmp_path / "installed"
    python(tmp_path, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, wheel)
    checks = json.loads(python(installed, *HAL[1:], "plugin", "test", name, "--json"))["checks"]
    assert [check["passed"] for check in checks] == [True] * 3
    if plane == "engine":
        words = ["simulate", "--policy", name, "lublin:jobs=200,procs=64,seed=1", "--json"]
        (run,) = json.loads(python(installed, *HAL[1:], *words))["runs"]
        assert (run["policy"], run["jobs"]) == (name, 200)


ENGINE = code("bad", "engine")
PLAN = "room, starts = snapshot.room(), list[Start]()"
OBSERVER = code("bad", "observer")
RECORD = 'lines = [f"{event'
BROKEN = {
    "raises at import": (ENGINE.replace("\n\nclass", "\n1 / 0\n\nclass"), "ZeroDivisionError"),
    "ends the process": (ENGINE.replace("\n\nclass", "\nimport os; os._exit(7)\n\nclass"), "exit code 7"),
    "is of another version": (ENGINE.replace("sdk=1", "sdk=99"), "version 99"),
    "registers what is no factory": (ENGINE.replace("lambda options: Bad()", "7"), "must be callable"),
    "moves the process": (ENGINE.replace("\n\nclass", '\nimport os; os.chdir("/")\n\nclass'), "working directory"),
    "raises": (ENGINE.replace(PLAN, "raise RecursionError"), "RecursionError"),
    "hangs": (ENGINE.replace(PLAN, "while True: pass"), "did not end"),
    "gives garbage": (ENGINE.replace("return Plan(tuple(starts), depth=len(starts))", "return 'soon'"), "starts"),
    "starts what does not fit": (ENGINE.replace("room.take(chosen, ask)", "pass"), "fit"),
    "eats cancellation": (
        OBSERVER.replace(
            RECORD, f"try:\n            await trio.sleep(0)\n        except trio.Cancelled:\n"
            f"            await self.record(first_sequence, events)\n        {RECORD}"
        ),
        "RecursionError|it ended the process|did not end",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_breaks_a_contract_is_found(kind, tmp_path):
    source, reason = BROKEN[kind]
    assert source not in (ENGINE, OBSERVER)
    write_package("bad", "engine", tmp_path / "bad")
    (tmp_path / "bad/src/bad/__init__.py").write_text(source)
    patience_s = 4.0 if kind == "hangs" else 120.0
    failed = [check for check in check_plugin(str(tmp_path / "bad"), patience_s=patience_s) if not check.passed]
    assert failed
    assert re.search(reason, failed[0].reason), failed


def test_a_plugin_without_a_trial_is_told_what_it_lacks(tmp_path):
    write_package("shy", "locality", tmp_path / "shy")
    path = tmp_path / "shy/src/shy/__init__.py"
    path.write_text(path.read_text().replace('    register("shy", _trial)', "    pass"))
    assert "does not say present, absent" in check_plugin(str(tmp_path / "shy"))[1].reason


def test_mistakes_are_told(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        write_package("My Plugin", "engin", tmp_path / "new")
    assert [problem.place for problem in caught.value.problems] == ["NAME", "--plane"]
    assert "engine" in caught.value.problems[1].text
    with pytest.raises(InvalidInput, match="installed already"):
        write_package("json", "engine", tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(Conflict, match="empty or new"):
        write_package("fine", "engine", tmp_path / "full")
    (check,) = check_plugin("backfil")
    assert not check.passed
    assert "did you mean 'backfill'" in check.reason


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["new", "mine"], "new needs --plane"),
        (["new", "mine", "--plane", "engine", "--json"], "takes no --json"),
        (["test", "mine", "--plane", "engine"], "takes no --plane"),
        (["old", "mine"], "no action 'old'"),
    ],
)
def test_the_command_says_what_it_wants(words, text, capsys):
    assert run_command(["plugin", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_plugin_can_be_begun_where_only_hal_is_installed(tmp_path):
    program = (
        "import sys; sys.modules.update(hypothesis=None, pytest=None); from hal_core.cli.dispatch import run_command; "
        "sys.exit(run_command(['plugin', 'new', 'mine', '--plane', 'engine']))"
    )
    python(tmp_path, "-c", program)
    assert (tmp_path / "mine/pyproject.toml").exists()
