"""`hal train`: a history becomes a file, and the file a predictor that knows the users from the first job on."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from hal_core import Arrival, InvalidInput, JobId, JobSpec, Owner, PartitionName
from hal_core.plugins import Plugins
from tests.support.cli import hal


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """An export of sacct: ada's jobs take a minute, bob's an hour, of a day that both ask for."""
    dice, lines = Random(1), ["JobID|User|State|Submit|Start|End|Elapsed|Timelimit|AllocCPUS"]
    for number in range(200):
        user, seconds = dice.choice((("ada", 60), ("bob", 3600)))
        day, hour = 1 + number // 24, number % 24
        at = f"2026-01-{day:02}T{hour:02}:00:00"
        elapsed = f"{seconds // 3600:02}:{seconds % 3600 // 60:02}:{dice.randint(0, 30):02}"
        lines.append(f"{number + 1}|{user}|COMPLETED|{at}|{at}|{at[:-8]}{hour:02}:59:59|{elapsed}|1-00:00:00|4")
    path = tmp_path / "sacct.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_users_are_known_from_the_first_job_on(history: Path, tmp_path: Path) -> None:
    target = tmp_path / "ml.hal"
    done = hal("/nowhere", "train", "--from", str(history), "--to", str(target), "--timezone", "UTC")
    assert done.code == 0, done
    assert "learned from 200 jobs" in done.out
    assert f"{target.stat().st_size} bytes" in done.out
    assert target.stat().st_size < 10_000
    predictor = Plugins.load().predictor("ml", {"warm_start": str(target)})
    said_s = {}
    for number, user in enumerate(("ada", "bob"), 1000):
        spec = JobSpec("job", PartitionName("all"), command=("true",), task_count=4, walltime_s=86_400.0)
        (found,) = predictor.predict([Arrival(JobId(number), Owner(user, 1, 1), spec, 1.77e9)])
        assert found is not None
        said_s[user] = found.p50_s
    assert 20.0 < said_s["ada"] < 600.0
    assert 1200.0 < said_s["bob"] < 10_800.0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--predictor", "last-two"), "nothing to store"),
        (("--predictor", "wild"), "no predictor named 'wild'"),
        (("--from", "/no/such.txt"), "/no/such.txt"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    history: Path, tmp_path: Path, words: tuple[str, str], text: str
) -> None:
    target = tmp_path / "ml.hal"
    done = hal("/nowhere", "train", "--from", str(history), "--to", str(target), *words)
    assert done.code == 1, done
    assert text in done.err
    assert not target.exists()


def test_a_warm_start_from_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        Plugins.load().predictor("ml", {"warm_start": str(tmp_path / "none")})
