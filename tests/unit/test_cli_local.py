"""What needs no daemon: configuration, doctor, completion, and how little a start of `hal` imports."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from hal_core.cli.doctor import FAIL, OK, WARN, check_cgroups, check_disk, check_socket
from tests.support.cli import ROOT, environment, hal
from tests.support.journal_events import events_between, opened
from tests.support.rest_bodies import NODE, STATUS, job
from tests.support.scripted_server import Reply, ScriptedServer

GOOD = "cluster: c\nnodes:\n  - names: [n1]\n    cpus: 4\n    memory: 8G\npartitions:\n  - name: main\n"
NOT_FOR_CLIENTS = {
    "trio",
    "httpx",
    "pluggy",
    "attr",
    "attrs",
    "starlette",
    "click",
    "rich",
    "msgspec",
    "typing",
    "yaml",
}


@pytest.fixture
def server(tmp_path):
    with ScriptedServer(tmp_path / "hal.sock") as running:
        yield running


@pytest.mark.parametrize("words", [["submit", "--", "true"], ["queue"], ["run", "true"], ["cancel", "12"], ["--help"]])
def test_a_client_command_imports_the_standard_library_only(server, words):
    server.answer("POST", "/v1/jobs", Reply({"job_id": 12, "warnings": []}, 201))
    server.answer("POST", "/v1/jobs/12/cancel", {"job_id": 12, "count": 1})
    ended = {"job_id": 12, "state": "COMPLETED", "array": None, "element": None, "end": None}
    server.answer("GET", "/v1/jobs/12", ended)
    server.answer("GET", "/v1/jobs", {"jobs": [job()], "next_cursor": None, "counts": {}, "sequence": 1})
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "hal_core.cli", *words],
        env=environment(server.path), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    # A virtual environment's own start may import typing; what comes after hal_core is ours.
    order = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")]
    ours = order[order.index("hal_core") :]
    assert not {name.partition(".")[0] for name in ours} & NOT_FOR_CLIENTS
    assert "hal_core.errors" not in imported
    assert "argparse" not in imported or words[0] not in ("submit", "run")


def test_version_is_answered_before_anything_is_imported():
    code = "import sys; before = set(sys.modules); import hal_core.cli; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment("/x"), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['__future__', 'hal_core', 'hal_core.cli']"


def test_config_check_tells_every_error_at_its_line(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("cpus: 4", "cpuz: 4").replace("8G", "8X"))
    result = hal(tmp_path, "config", "check", str(good), str(bad))
    assert result.code == 1
    lines = [line for line in result.err.splitlines() if line.startswith(f"hal: {bad}")]
    assert len(lines) >= 2
    assert f"{bad}:4" in result.err
    assert "did you mean 'cpus'" in result.err
    files = json.loads(hal(tmp_path, "config", "check", "--json", str(bad)).out)["files"]
    assert len(files[0]["problems"]) == len(lines)


def test_config_check_asks_plugins_about_their_options(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        GOOD + "engine: {name: hal, options: {depht_max: 4}}\n"
        "localities:\n  files: {shared_prefix: [/data]}\n  http: {}\npredictors:\n  last-two: {best: 2}\n"
        "executors: {metal: {hartbeat_s: 3}, other: {plugin: slurm, partitons: {}}}\n"
        "observers: {log: {pth: /tmp/x}, prometheus: {prot: 1}}\nclouds: {static: {stop_grace: 1}}\n"
    )
    result = hal(tmp_path, "config", "check", str(path))
    assert result.code == 1
    for place, text in (
        ("engine.options.depht_max", "unknown option (did you mean 'depth_max'?)"),
        ("localities.files.shared_prefix", "unknown option (did you mean 'shared_prefixes'?)"),
        ("localities.http", "http.url_prefixes: is missing"),
        ("predictors.last-two.best", "unknown option"),
        ("executors.metal.hartbeat_s", "unknown option (did you mean 'heartbeat_s'?)"),
        ("executors.other.partitons", "unknown option (did you mean 'partitions'?)"),
        ("observers.log.pth", "unknown option (did you mean 'path'?)"),
        ("observers.prometheus.prot", "unknown option; known: none"),
        ("clouds.static.stop_grace", "unknown option (did you mean 'stop_grace_s'?)"),
    ):
        line = next(line for line in result.err.splitlines() if f": {place}: " in line)
        assert line.startswith(f"hal: {path}:")
        assert text in line


def test_config_show_and_schema(server, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(GOOD)
    shown = json.loads(hal(tmp_path, "config", "show", "--json", str(path)).out)
    assert shown["configuration"]["cluster"]["name"] == "c"
    assert "name: c" in hal(tmp_path, "config", "show", str(path)).out
    assert "state_directory: " in hal(tmp_path, "config", "show", "--defaults").out
    assert json.loads(hal(tmp_path, "config", "schema").out)["title"] == "HAL configuration"
    body = {"configuration": {"engine": {"name": "backfill"}}, "path": None}
    server.answer("GET", "/v1/configuration", body)
    assert "name: backfill" in hal(server.path, "config", "show").out
    assert json.loads(hal(server.path, "config", "show", "--json").out) == body
    assert hal(tmp_path, "config", "check").code == 2


def test_doctor_says_what_to_do(server, tmp_path):
    server.answer(
        "GET", "/v1/status", {**STATUS, "is_accepting": False, "problem": "disk full", "nodes": {"up": 1, "down": 2}}
    )
    server.answer("GET", "/v1/configuration", {"configuration": {"state_directory": str(tmp_path)}, "path": None})
    findings = json.loads(hal(server.path, "doctor", "--json").out)["findings"]
    by_check = {each["check"]: each for each in findings}
    assert (by_check["daemon"]["status"], by_check["jobs"]["text"]) == (OK, "new jobs are refused: disk full")
    assert "2 down" in by_check["nodes"]["text"]
    assert str(tmp_path) in next(each["text"] for each in findings if each["check"] == "disk")
    result = hal(tmp_path / "none", "doctor")
    assert result.code == 1
    assert "FAIL  daemon      cannot reach" in result.out


def test_doctor_checks_who_could_replace_the_socket(tmp_path):
    path = tmp_path / "run" / "hal.sock"
    path.parent.mkdir(mode=0o700)
    assert [finding.status for finding in check_socket(str(path))] == [WARN]
    with ScriptedServer(path):
        assert [finding.status for finding in check_socket(str(path))] == [OK]
        path.parent.chmod(0o777)
        assert [finding.status for finding in check_socket(str(path))] == [FAIL]
        path.parent.chmod(0o1777)
        assert [finding.status for finding in check_socket(str(path))] == [OK]
    path.unlink()
    path.touch()
    path.parent.chmod(0o700)
    assert [finding.status for finding in check_socket(str(path))] == [FAIL]


@pytest.mark.parametrize(
    ("files", "status", "told"),
    [
        ({}, WARN, "none"),
        ({"cgroup.controllers": "cpu io memory pids"}, OK, "v2 with"),
        ({"cgroup.controllers": "io pids"}, WARN, "v2 without cpu, memory"),
        ({"cpu/tasks": "", "memory/tasks": "", "pids/tasks": ""}, OK, "v1 with"),
        ({"cpu/tasks": "", "memory/tasks": "", "pids/tasks": "", "unified/cgroup.controllers": ""}, OK, "hybrid with"),
        ({"cpu/tasks": "", "pids/tasks": "", "unified/cgroup.controllers": "memory"}, OK, "hybrid with"),
    ],
)
def test_doctor_knows_the_kinds_of_cgroups(tmp_path, files, status, told):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (finding,) = check_cgroups(str(tmp_path))
    assert (finding.status, finding.text.startswith(told)) == (status, True)


def test_doctor_looks_at_the_disk_above_a_directory_that_is_not_there_yet(tmp_path):
    (finding,) = check_disk([str(tmp_path / "not" / "yet")])
    assert finding.text.startswith(f"{tmp_path}: ")


def test_completion_knows_commands_options_jobs_and_nodes(server, tmp_path):
    def complete(*words):
        return hal(server.path, "_complete", *words).out.split()

    server.answer(
        "GET", "/v1/jobs", {"jobs": [job(), job(job_id=13)], "next_cursor": None, "counts": {}, "sequence": 1}
    )
    server.answer("GET", "/v1/nodes", {"nodes": [NODE], "next_cursor": None, "sequence": 1})
    assert set(complete("re")) == {"receipt", "release", "requeue", "resume", "reserve", "replay"}
    assert complete("submit", "--cpus") == ["--cpus-per-task"]
    assert complete("queue", "--l") == ["--limit"]
    assert complete("cancel", "1") == ["12", "13"]
    assert complete("nodes", "dr") == ["drain"]
    assert complete("nodes", "drain", "n") == ["n1"]
    assert complete("completion", "z") == ["zsh"]
    assert complete("nonsense", "x") == []
    gone = hal(tmp_path / "none", "_complete", "cancel", "")
    assert (gone.code, gone.out, gone.err) == (0, "", "")


def test_bash_completes_with_the_script_it_is_given(server, tmp_path):
    (tmp_path / "hal").write_text(f'#!/bin/sh\nexec {sys.executable} -m hal_core.cli "$@"\n')
    (tmp_path / "hal").chmod(0o755)
    code = 'eval "$(hal completion bash)"; COMP_WORDS=(hal que); COMP_CWORD=1; _hal; echo "${COMPREPLY[@]}"'
    env = environment(server.path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "queue\n"
    for shell in ("zsh", "fish"):
        assert "hal _complete" in hal(ROOT, "completion", shell).out
    assert hal(ROOT, "completion", "tcsh").code == 2


def test_doctor_checks_a_journal_and_rebuilds_its_history(tmp_path):
    directory = tmp_path / "state"
    with opened(directory) as journal:
        journal.append(events_between(1, 12))
    result = hal(tmp_path / "none", "doctor", "--journal", str(directory))
    assert (result.code, result.out) == (0, "OK    journal     12 events and 0 snapshots: all as they were written\n")
    with closing(sqlite3.connect(directory / "journal.sqlite")) as connection:
        connection.execute("UPDATE history SET exit_code = 0")
        connection.commit()
    result = hal(tmp_path / "none", "doctor", "--journal", str(directory))
    assert result.code == 1
    assert "the history must be rebuilt from the events" in result.out
    assert hal(tmp_path / "none", "doctor", "--journal", str(directory), "--rebuild-history").code == 0
    result = hal(tmp_path / "none", "doctor", "--journal", str(tmp_path))
    assert (result.code, "there is no journal" in result.out) == (1, True)
