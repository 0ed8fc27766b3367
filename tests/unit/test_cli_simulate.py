"""`hal simulate` as a whole process: figures, files, notes and refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.cli import HalResult, hal

KEYS = {
    "trace",
    "policy",
    "estimates",
    "replica",
    "jobs",
    "skipped",
    "avg_bounded_slowdown",
    "mean_wait_s",
    "p95_wait_s",
    "max_wait_s",
    "utilization",
    "makespan_s",
    "jobs_per_s",
    "pinball",
    "runtime_p90_coverage",
    "time_out_skill",
    "time_out_calibration_error",
    "failure_skill",
    "failure_calibration_error",
    "start_p90_coverage",
    "predict_us",
    "learn_us",
}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Some jobs that compete for 16 processors."""
    random = Random(1)
    lines = ["; MaxProcs: 16"]
    for number in range(1, 121):
        run_s, limit_s = random.randint(1, 300), random.choice((100, 300, 900))
        width = random.choice((1, 2, 4, 8, 16))
        swf = f"{number} {number * 20} -1 {run_s} {width} -1 -1 {width} {limit_s} -1 1 {number % 3} 1 1 1 1 -1 -1"
        lines.append(swf)
    path = tmp_path / "some.swf"
    path.write_text("\n".join(lines) + "\n")
    return path


def simulate(*words: str | Path) -> HalResult:
    return hal("/nowhere", "simulate", *map(str, words))


def runs_of(*words: str | Path) -> list[dict[str, Any]]:
    done = simulate(*words, "--json")
    assert done.code == 0, done
    answer = json.loads(done.out)
    assert set(answer) == {"runs"}
    runs: list[dict[str, Any]] = answer["runs"]
    assert all(set(run) == KEYS for run in runs)
    return runs


def test_each_policy_has_its_figures(trace: Path) -> None:
    names = ["fcfs", "easy", "easy-sjbf", "conservative", "reserve"]
    runs = runs_of(trace, *(word for name in names for word in ("--policy", name)))
    assert [run["policy"] for run in runs] == names
    for run in runs:
        assert (run["trace"], run["estimates"], run["replica"]) == (str(trace), "requested", 0)
        assert (run["jobs"], run["skipped"]) == (120, 0)
        assert run["avg_bounded_slowdown"] >= 1
        assert 0 < run["mean_wait_s"] <= run["p95_wait_s"] <= run["max_wait_s"]
        assert 0 < run["utilization"] <= 1
        assert run["makespan_s"] > 0
        assert run["jobs_per_s"] > 0
    assert runs[1]["mean_wait_s"] < runs[0]["mean_wait_s"], "backfill is of no use"


def test_waits_of_the_csv_are_those_of_the_figures(trace: Path, tmp_path: Path) -> None:
    target = tmp_path / "jobs.csv"
    (run,) = runs_of(trace, "--jobs-csv", target)
    with open(target, encoding="ascii") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["job_id", "submit_s", "wait_s", "run_s", "procs"]
    assert [int(row["job_id"]) for row in rows] == list(range(1, 121))
    assert sum(float(row["wait_s"]) for row in rows) / 120 == pytest.approx(run["mean_wait_s"])


def test_several_runs_write_several_files(trace: Path, tmp_path: Path) -> None:
    runs_of(trace, "--policy", "easy", "--policy", "fcfs", "--jobs-csv", tmp_path / "jobs.csv")
    assert {path.name for path in tmp_path.glob("*.csv")} == {"jobs-some-easy-0.csv", "jobs-some-fcfs-0.csv"}


def test_estimates_and_orders_make_a_difference(trace: Path) -> None:
    plain = runs_of(trace, "--policy", "easy-sjbf")
    perfect = runs_of(trace, "--policy", "easy-sjbf", "--estimates", "perfect")
    plus = runs_of(trace, "--policy", "easy-sjbf", "--estimates", "last-two", "--correction", "incremental")
    one = runs_of(trace, "--policy", "easy-sjbf", "--event-order", "one-by-one")
    waits = {run["mean_wait_s"] for (run,) in (plain, perfect, plus)}
    assert len(waits) == 3
    assert one[0]["jobs"] == 120


def test_predictions_are_scored_beside_the_decisions(trace: Path) -> None:
    requested, perfect, learned = (
        runs_of(trace, "--estimates", name)[0] for name in ("requested", "perfect", "last-two")
    )
    assert {run["policy"] for run in (requested, perfect, learned)} == {"hal"}, "the default policy"
    assert (requested["runtime_p90_coverage"], requested["predict_us"], requested["learn_us"]) == (1.0, 0.0, 0.0)
    assert (perfect["pinball"], perfect["runtime_p90_coverage"]) == (0.0, 1.0)
    assert requested["pinball"] > 0
    assert 0 < learned["runtime_p90_coverage"] < 1
    assert learned["predict_us"] > 0
    assert learned["learn_us"] > 0
    assert all(0 <= run["start_p90_coverage"] <= 1 for run in (requested, perfect, learned))


def test_shaken_replicas_differ_and_repeat(trace: Path) -> None:
    shaken = ("--shake", "30", "--replicas", "3", "--seed", "5")
    first, again = runs_of(trace, *shaken), runs_of(trace, *shaken)
    waits = [run["mean_wait_s"] for run in first]
    assert [run["replica"] for run in first] == [0, 1, 2]
    assert len(set(waits)) == 3
    assert waits == [run["mean_wait_s"] for run in again]
    assert waits[0] == runs_of(trace)[0]["mean_wait_s"], "the first replica is not moved"


def test_a_cluster_of_nodes_instead_of_a_pool(trace: Path, tmp_path: Path) -> None:
    config = tmp_path / "cluster.yaml"
    config.write_text(
        "cluster: test\nnodes:\n  - names: n[1-4]\n    cpus: 4\n    memory: 8G\n"
        "partitions:\n  - name: all\n    nodes: n[1-4]\n    default: true\n"
    )
    (run,) = runs_of(trace, "--cluster", config)
    assert run["jobs"] == 120


def test_bad_lines_are_counted_and_named(trace: Path) -> None:
    trace.write_text(trace.read_text() + "nonsense\n1 2 3\n")
    done = simulate(trace, "--json")
    assert json.loads(done.out)["runs"][0]["skipped"] == 2
    assert "line 122" in done.err
    assert "line 123: 3 columns; the format has 18" in done.err
    assert "skipped: 2 (lines that cannot be read)" in done.err
    assert done.code == 1, "more than one line in a hundred is bad"
    lenient = simulate(trace, "--json", "--lenient")
    assert (lenient.code, json.loads(lenient.out)["runs"][0]["jobs"]) == (0, 120)


def test_an_empty_trace_is_no_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.swf"
    empty.write_text("; MaxProcs: 4\n")
    (run,) = runs_of(empty)
    assert (run["jobs"], run["avg_bounded_slowdown"], run["makespan_s"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--policy", "esay"], 1, "no engine named 'esay'"),
        (["--estimates", "wild"], 1, "no predictor named 'wild'"),
        (["--replicas", "0"], 2, "0 is too few"),
        (["--shake", "-3"], 2, "give 0 or more seconds"),
        (["--event-order", "sometimes"], 2, "invalid choice"),
        (["--cluster", "/no/such.yaml"], 1, "/no/such.yaml"),
        (["--timezone", "Mars/Olympus"], 1, "no time zone 'Mars/Olympus'"),
        (["--verify"], 1, "is no journal of HAL"),
        (["lublin:jbs=4"], 1, "did you mean 'jobs'?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(trace: Path, words: list[str], code: int, text: str) -> None:
    done = simulate(trace, *words)
    assert (done.code, done.out) == (code, ""), done
    assert text in done.err


def test_a_trace_that_is_not_there() -> None:
    done = simulate("/no/such.swf")
    assert done.code == 1
    assert "/no/such.swf: No such file or directory" in done.err


def test_the_table_is_for_people(trace: Path) -> None:
    done = simulate(trace)
    assert done.code == 0
    assert done.out.split()[:2] == ["TRACE", "POLICY"]
    assert "some.swf" in done.out


def test_replay_is_another_name_for_it_and_a_model_needs_no_file() -> None:
    done = hal("/nowhere", "replay", "lublin:jobs=50,procs=16,seed=3", "--json")
    (run,) = json.loads(done.out)["runs"]
    assert (run["trace"], run["jobs"]) == ("lublin:jobs=50,procs=16,seed=3", 50)


def test_an_export_of_slurm_is_known_by_its_header(tmp_path: Path) -> None:
    export = tmp_path / "sacct.txt"
    export.write_text(
        "JobID|User|State|Submit|Start|End|Elapsed|Timelimit|AllocCPUS\n"
        "7|ada|COMPLETED|2024-10-27T02:10:00|2024-10-27T02:30:00|2024-10-27T02:40:00|00:10:00|01:00:00|4\n"
        "8_1|ada|CANCELLED by 5|2024-10-27T02:10:00|2024-10-27T02:30:00|2024-10-27T02:40:00|00:10:00|01:00:00|4\n"
        "8_1.batch|||2024-10-27T02:10:00|2024-10-27T02:30:00|2024-10-27T02:40:00|00:10:00||4\n"
    )
    target = tmp_path / "jobs.csv"
    (run,) = runs_of(export, "--timezone", "Europe/Berlin", "--jobs-csv", target)
    assert (run["jobs"], run["skipped"]) == (2, 0)
    assert [row.split(",")[0] for row in target.read_text().splitlines()] == ["job_id", "7", "8_1"]


def test_a_line_without_end_takes_no_memory(trace: Path) -> None:
    with trace.open("a") as stream:
        for _ in range(40):
            stream.write("9" * (1 << 20))
        stream.write("\n")
    done = simulate(trace, "--json")
    assert done.code == 0, done
    assert "line 122: longer than 1 MiB" in done.err


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x1f\x8b", b"\xff" * 1000, b"{}", b"JobID|State\n", b"1|2|3\n"])
def test_files_of_any_kind_are_answered_in_lines(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    done = simulate(path, "--json")
    assert json.loads(done.out)["runs"][0]["jobs"] == 0
    assert "Traceback" not in done.err
    assert "a bug in hal" not in done.err
    assert done.code == (1 if content.strip() and content != b"JobID|State\n" else 0), done


def test_a_directory_without_a_journal(tmp_path: Path) -> None:
    done = simulate(tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "without HAL's journal" in done.err


def test_the_report_is_one_page(trace: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    done = simulate(trace, "--policy", "easy", "--policy", "fcfs", "--report", target)
    assert done.code == 0, done
    assert f"the report is in {target}" in done.err
    assert target.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("option", ["--report", "--jobs-csv"])
def test_where_nothing_can_be_written_nothing_is_replayed(trace: Path, option: str) -> None:
    done = simulate(trace, option, "/nowhere/at/all.html")
    assert done.code == 2
    assert f"{option}: there is no directory /nowhere/at" in done.err


def test_what_is_of_no_effect_is_said(trace: Path) -> None:
    assert "without --shake SECONDS every run" in simulate(trace, "--replicas", "2").err
    assert "without --replicas N every run" in simulate(trace, "--shake", "30").err


def test_nothing_is_learned_from_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.swf").write_text("no\ntrace\n")
    done = hal("/nowhere", "train", "--from", str(tmp_path / "bad.swf"), "--to", str(tmp_path / "ml.hal"))
    assert done.code == 1
    assert "no job could be read from it" in done.err
    assert not (tmp_path / "ml.hal").exists()
