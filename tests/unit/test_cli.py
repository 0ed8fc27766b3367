"""The commands that list, show and change, as whole processes: tables for people, the daemon's answer for `--json`."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from hal_core import __version__
from hal_core.cli import history
from hal_core.cli.complete import WITH_A_JOB
from hal_core.cli.console import Console
from hal_core.cli.dispatch import COMMANDS, all_commands, command_parser
from hal_core.cli.plugins import print_plugins
from hal_core.client.transport import ANSWER_TIMEOUT_S, Answer
from tests.support.cli import COMMAND, environment, hal, start_hal
from tests.support.rest_bodies import ELEMENT, END, ENTRY, NODE, STATUS, ended, job, job_details
from tests.support.scripted_server import Reply, ScriptedServer, error

ANSWER = Answer(200, b'{"entries": [], "next_cursor": null, "sequence": 1}')
HELD = {"kind": "held", "text": "held by ada"}


@pytest.fixture
def server(tmp_path):
    with ScriptedServer(tmp_path / "hal.sock") as running:
        yield running


def listing(*jobs, cursor=None):
    return {"jobs": list(jobs), "next_cursor": cursor, "counts": {}, "sequence": 9}


def test_version_and_help(tmp_path):
    assert hal(tmp_path, "--version").out == f"hal {__version__}\n"
    result = hal(tmp_path, "--help")
    assert result.code == 0
    for name in all_commands():
        assert f"  {name} " in result.out
    assert hal(tmp_path).code == 2
    assert hal(tmp_path, "help", "queue").out.startswith("usage: hal queue")


@pytest.mark.parametrize("name", sorted(all_commands()))
def test_every_command_explains_itself_without_a_daemon(tmp_path, name):
    result = hal(tmp_path, name, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"hal {name}" in result.out


def test_an_unknown_command_or_option_is_code_2_with_the_nearest(tmp_path):
    result = hal(tmp_path, "queu")
    assert (result.code, "did you mean 'queue'" in result.err) == (2, True)
    result = hal(tmp_path, "queue", "--limt=3")
    assert (result.code, "did you mean '--limit'" in result.err) == (2, True)
    for words in (["cancel"], ["cancel", "x"], ["cancel", "--all", "3"], ["priority", "3"], ["queue", "--limit", "0"]):
        assert hal(tmp_path, *words).code == 2, words


def test_queue_is_a_table(server):
    array = job(job_id=13, array="0-99%10", state="PENDING", nodes="", reason=HELD, name="a\x1b[31m", walltime_s=None)
    server.answer("GET", "/v1/jobs", listing(job(), array))
    result = hal(server.path, "queue", "--user", "ada,bob", "--state", "running", "-p", "main", "-n", "a b")
    assert (result.code, result.err) == (0, "")
    head, first, second = result.out.splitlines()
    assert head.split()[:5] == ["JOB", "NAME", "USER", "PARTITION", "STATE"]
    assert first.split()[:5] == ["12", "train", "ada", "main", "RUNNING"]
    assert first.endswith("10:00      1  n1")
    assert second.split()[:5] == ["13_[0-99%10]", "a\\x1b[31m", "ada", "main", "PENDING"]
    assert second.endswith("none      1  (held by ada)")
    assert server.requests[0].query == {
        "user": "ada,bob", "state": "RUNNING", "partition": "main", "name": "a b", "limit": "100"
    }  # fmt: skip


def test_queue_tells_how_far_an_array_is_and_when_a_job_may_begin(server):
    counts = {"PENDING": 3, "RUNNING": 1, "COMPLETED": 5, "FAILED": 1}
    array = job(array="0-9", element_count=10, counts=counts, nodes="n1")
    waits = {"kind": "begin_time", "text": "not to begin before 2025-11-24T16:00:00Z"}
    late = job(job_id=13, state="PENDING", nodes="", reason=waits, begin_time_s=1764000000.0)
    server.answer("GET", "/v1/jobs", listing(array, late))
    _, first, second = hal(server.path, "queue").out.splitlines()
    assert first.endswith("  n1 (6 of 10 ended)")
    assert second.endswith("(not to begin before 2025-11-24 16:00:00)")


def test_queue_says_that_there_is_more_and_can_show_all(server):
    pages = {None: listing(job(job_id=1), cursor="c"), "c": listing(job(job_id=2))}
    server.answer("GET", "/v1/jobs", lambda request: Reply(pages[request.query.get("cursor")]))
    assert "--all shows all" in hal(server.path, "queue", "--limit", "1").err
    body = json.loads(hal(server.path, "queue", "--all", "--json").out)
    assert body == listing(job(job_id=1), job(job_id=2))


def test_me_is_whoever_calls(server):
    server.answer("GET", "/v1/jobs", listing())
    hal(server.path, "queue", "--me")
    assert server.requests[0].query["user"] == Path("~").expanduser().owner()
    assert hal(server.path, "queue", "--me", "--user", "x").code == 2


def test_colours_only_on_a_terminal(server):
    server.answer("GET", "/v1/jobs", listing(job()))
    for more, has_colours in (
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        main, side = pty.openpty()
        subprocess.run([*COMMAND, "queue"], env=environment(server.path, **more), stdout=side, timeout=60, check=True)
        os.close(side)
        shown = os.read(main, 10_000)
        os.close(main)
        assert (b"\x1b[32m" in shown) is has_colours
        assert b"train" in shown


def test_show_tells_everything(server):
    server.answer("GET", "/v1/jobs/12", job_details())
    out = hal(server.path, "show", "12").out
    for text in (
        "1 node, 1 task, 4 CPUs a task, 1 licence_x a node",
        "afterok:11",
        "(--script prints it) 'a b'",
        "10:00",
    ):
        assert text in out
    assert json.loads(hal(server.path, "show", "--json", "12").out) == job_details()
    likely = {"p50_time_s": 1764000000.0, "p90_time_s": 1764003600.0, "checked_count": 7}
    server.answer("GET", "/v1/jobs/12", job_details(likely_start=likely))
    assert "nine in ten by 2025-11-24 17:00:00 (corrected by 7 starts" in hal(server.path, "show", "12").out
    assert server.requests[-1].query == {"with": "likely_start"}
    server.answer("GET", "/v1/jobs/12", ended(12, "FAILED", exit_code=2))
    assert "exit code 2" in hal(server.path, "show", "12").out
    hidden = {"command": None, "arguments": None, "working_directory": None, "output_path": None, "inputs": None}
    server.answer(
        "GET", "/v1/jobs/12", job_details(is_private_shown=False, error_path=None, environment=None, **hidden)
    )
    result = hal(server.path, "show", "12")
    assert (result.code, "owner only" in result.err) == (0, True)


def test_show_leads_to_the_history_only_who_asks_for_a_job_that_was(server):
    server.answer("GET", "/v1/jobs/12", error(404, "not_found", "there is no job 12"))
    assert hal(server.path, "show", "12").err == "hal: there is no job 12\n"
    gone = "job 12 ended long ago; how it ended is in /v1/history?job_id=12"
    server.answer("GET", "/v1/jobs/12", error(404, "not_found", gone))
    assert "in the history: hal history --job 12" in hal(server.path, "show", "12").err


def test_show_an_array_and_an_element(server):
    server.answer(
        "GET", "/v1/jobs/12", job_details(array="0-99%10", element=None, counts={"RUNNING": 1, "PENDING": 99})
    )
    elements = [
        ELEMENT,
        {**ELEMENT, "indices": "1-99", "count": 99, "state": "PENDING", "nodes": [], "output_path": None},
    ]
    page = {"job_id": 12, "elements": elements, "next_cursor": None, "sequence": 1}
    server.answer("GET", "/v1/jobs/12/elements", page)
    out = hal(server.path, "show", "12").out
    assert "1 RUNNING, 99 PENDING" in out
    assert out.splitlines()[-1].split()[:3] == ["1-99", "99", "PENDING"]
    assert "n1 (CPUs 0-3)" in hal(server.path, "show", "12_0").out
    assert json.loads(hal(server.path, "show", "--json", "12_[5]").out) == page
    assert hal(server.path, "show", "12_100").code == 1
    forgotten = {**ELEMENT, "state": "COMPLETED", "nodes": [{**ELEMENT["nodes"][0], "cpus": ""}]}
    server.answer("GET", "/v1/jobs/12/elements", {**page, "elements": [forgotten]})
    for name in ("12", "12_0"):
        result = hal(server.path, "show", name)
        assert ("(CPUs )" in result.out, "hal history --job 12" in result.err) == (False, True)
    assert hal(server.path, "show", "12_[1-2]").code == 2


def test_show_a_script(server):
    server.answer("GET", "/v1/jobs/12", job_details())
    server.answer("GET", "/v1/jobs/12/script", {"job_id": 12, "script": "#!/bin/sh\nhostname"})
    assert hal(server.path, "show", "--script", "12").out == "#!/bin/sh\nhostname\n"


def test_several_jobs_are_tried_all(server):
    server.answer("POST", "/v1/jobs/12/cancel", {"job_id": 12, "count": 5})
    server.answer("POST", "/v1/jobs/14/cancel", {"job_id": 14, "count": 0})
    result = hal(server.path, "cancel", "12_[1-5]", "13", "14")
    assert (result.code, result.out) == (1, "job 12: 5 cancelled\njob 14: has ended already\n")
    assert result.err == "hal: job 13: no route /v1/jobs/13/cancel\n"
    assert [request.body for request in server.requests] == [{"indices": "1-5"}, {}, {}]
    lines = hal(server.path, "cancel", "--json", "12", "14").out.splitlines()
    assert [json.loads(line) for line in lines] == [{"job_id": 12, "count": 5}, {"job_id": 14, "count": 0}]


def test_cancel_all_is_all_of_mine(server):
    server.answer("GET", "/v1/jobs", listing(job(job_id=1), job(job_id=2)))
    for job_id in (1, 2):
        server.answer("POST", f"/v1/jobs/{job_id}/cancel", {"job_id": job_id, "count": 1})
    assert hal(server.path, "cancel", "--all").out == "job 1: cancelled\njob 2: cancelled\n"
    assert server.requests[0].query["user"] == Path("~").expanduser().owner()


@pytest.mark.parametrize(
    ("command", "done"),
    [
        ("hold", "held"),
        ("release", "released"),
        ("requeue", "requeued"),
        ("suspend", "suspended"),
        ("resume", "resumed"),
    ],
)
def test_hold_release_requeue_suspend_resume(server, command, done):
    server.answer("POST", f"/v1/jobs/12/{command}", {"job_id": 12, "count": 1})
    assert hal(server.path, command, "12").out == f"job 12: {done}\n"
    server.answer("POST", f"/v1/jobs/12/{command}", error(409, "refused", "job 12 has ended"))
    result = hal(server.path, command, "12_3")
    assert (result.code, result.err) == (1, "hal: job 12 has ended\n")


def test_resume_says_for_whom_it_waits(server):
    server.answer("POST", "/v1/jobs/12/resume", {"job_id": 12, "count": 2, "waits_for": [14, 15]})
    text = "job 12: 2 resumed; it goes on after jobs 14, 15\n"
    assert hal(server.path, "resume", "12_[3-4]").out == text
    assert server.requests[0].body == {"indices": "3-4"}


def test_show_says_who_suspended_it_and_since_when(server):
    still = {**ELEMENT, "state": "SUSPENDED", "suspend_time_s": 1764000000.0, "suspended_by": "root"}
    server.answer("GET", "/v1/jobs/12", job_details(state="SUSPENDED", element=still))
    shown = hal(server.path, "show", "12").out
    assert re.search(r"Suspended +since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d, by root\n", shown), shown


def test_priority(server):
    server.answer("POST", "/v1/jobs/12/priority", lambda request: Reply({"job_id": 12, **request.body}))
    assert hal(server.path, "priority", "12", "-10").out == "job 12: priority -10\n"
    assert server.requests[0].body == {"priority": -10}
    assert hal(server.path, "priority", "12_1", "5").code == 2


def test_nodes(server):
    drained = {**NODE, "name": "n2", "is_drained": True, "reason": "disk is failing", "by": "root", "gpus": {}}
    server.answer("GET", "/v1/nodes", {"nodes": [NODE, drained], "next_cursor": None, "sequence": 1})
    head, first, second = hal(server.path, "nodes").out.splitlines()
    assert head.startswith("NODE  STATUS")
    assert first.split()[:4] == ["n1", "up", "4/8", "8.0"]
    assert second.endswith("disk is failing (by root)")
    allocation = {"job_id": 12, "index": 3, "attempt": 1, "user": "ada", "cpus": "0-3", "memory_bytes": 0, "gpus": ""}
    server.answer("GET", "/v1/nodes/n1", {**NODE, "allocations": [allocation], "sequence": 1})
    assert "12_3" in hal(server.path, "nodes", "show", "n1").out
    server.answer("POST", "/v1/nodes/n1/drain", lambda request: Reply({"name": "n1", "is_drained": True}))
    assert hal(server.path, "nodes", "drain", "n1", "--reason", "disk").out == "node n1: drained\n"
    assert server.requests[-1].body == {"reason": "disk"}
    server.answer("POST", "/v1/nodes/n1/resume", {"name": "n1", "is_drained": False})
    assert hal(server.path, "nodes", "resume", "n1", "n9").code == 1
    server.answer("POST", "/v1/nodes/n2/resume", {"name": "n2", "is_drained": False})
    assert hal(server.path, "nodes", "resume", "n[1-2]").out == "node n1: in service\nnode n2: in service\n"
    assert "n[2-1]" in hal(server.path, "nodes", "resume", "n[2-1]").err
    for words in (
        ["drain", "n1"],
        ["drain", "--reason", "x"],
        ["reboot", "n1"],
        ["resume", "n1", "-r", "x"],
        ["list", "n1"],
    ):
        assert hal(server.path, "nodes", *words).code == 2, words


def test_history(server):
    killed = {
        **ENTRY,
        "elements": "3-5",
        "state": "FAILED",
        "kind": "out_of_memory",
        "start_time_s": None,
        "ran_s": None,
        "cpu_s": None,
    }
    server.answer("GET", "/v1/history", {"entries": [ENTRY, killed], "next_cursor": None, "sequence": 1})
    _, first, second = hal(server.path, "history", "--since", "2026-01-31", "--job", "12", "--oldest").out.splitlines()
    assert first.split()[:5] == ["12", "train", "ada", "main", "COMPLETED"]
    assert "2025-11-24 16:00:02" in first
    assert second.startswith("12_[3-5]")
    assert second.endswith("out of memory (peak 3.0 MiB)")
    elements = [{**ENTRY, "is_array": True, "elements": text} for text in ("0", "7", "1-2,4")]
    server.answer("GET", "/v1/history", {"entries": elements, "next_cursor": None, "sequence": 1})
    shown = [line.split()[0] for line in hal(server.path, "history", "--limit", "3").out.splitlines()[1:]]
    assert shown == ["12_0", "12_7", "12_[1-2,4]"]
    said = {"p10_s": 60.0, "p50_s": 300.0, "p90_s": 900.0}
    said = [{**ENTRY, "prediction": said}, {**ENTRY, "prediction": None}, {**killed, "prediction": said}]
    server.answer("GET", "/v1/history", {"entries": said, "next_cursor": None, "sequence": 1})
    head, *lines = hal(server.path, "history", "--predictions", "--limit", "3").out.splitlines()
    assert server.requests[-1].query["with"] == "predictions"
    assert head.split()[-5:] == ["P50", "P90", "OFF", "BY", "HOW"]
    ran = [words[words.index("MiB") + 1 :][:3] for words in map(str.split, lines)]
    assert ran == [["5:00", "15:00", "-4:59"], ["-", "-", "-"], ["5:00", "15:00", "-"]]
    query = server.requests[0].query
    assert (query["order"], query["job_id"], float(query["since_time_s"])) == ("oldest", "12", 1769817600.0)


def test_where_much_of_the_journal_is_read_the_answer_may_take_its_time(tmp_path):
    class Connected(Console):
        connection = SimpleNamespace(request=lambda _, target, timeout_s: asked.append((target, timeout_s)) or ANSWER)

    for words, may_take_long in (("", False), ("--cost", True), ("--predictions", True)):
        asked = []
        history.run(Connected({}), command_parser("history").parse_args([*words.split(), "--json"]))
        ((_, timeout_s),) = asked
        assert (timeout_s > ANSWER_TIMEOUT_S) is may_take_long, words


def test_status_and_plugins(server):
    server.answer("GET", "/v1/status", STATUS)
    out = hal(server.path, "status").out
    assert "laptop" in out
    assert "5 PENDING, 12 RUNNING" in out
    assert json.loads(hal(server.path, "status", "--json").out) == STATUS
    plugin = {
        "name": "backfill", "module": "m", "distribution": "hal", "version": "0.1.0", "status": "loaded", "reason": "",
        "summary": "EASY backfill", "not_yet": ["holes"],
        "provides": [{"plane": "engine", "name": "backfill", "summary": ""}],
    }  # fmt: skip
    server.answer("GET", "/v1/plugins", {"plugins": [plugin]})
    out = hal(server.path, "plugins").out
    _, first, second, *_ = out.splitlines()
    assert first.split() == ["backfill", "loaded", "hal", "0.1.0", "engine", "backfill"]
    assert second.split() == ["EASY", "backfill"], "below what it provides"
    assert "  backfill: holes" in out.splitlines()
    metal = next(line for line in out.splitlines() if line.startswith("metal "))
    assert "not in the daemon" in metal, "what is installed here and the daemon has not loaded is told as well"


def test_plugins_in_use_are_shown_with_what_they_cost_and_last_did_wrong(server):
    conduct = {
        "call_count": 7, "busy_s": 0.25,
        "failure_count": 1, "last_problem": "it\x1b[2Jfell over", "last_problem_time_s": 0.0,
    }  # fmt: skip
    plugin = {
        "name": "backfill", "module": "hal_engine_backfill", "distribution": "hal", "version": "0.1.0",
        "status": "loaded", "summary": "EASY backfill", "not_yet": [], "reason": "",
        "provides": [
            {"plane": "engine", "name": "backfill", "summary": "", "conduct": conduct},
            *({"plane": "engine", "name": f"fcfs-{at}", "summary": "", "conduct": None} for at in range(30)),
        ],
    }  # fmt: skip
    server.answer("GET", "/v1/plugins", {"plugins": [plugin]})
    lines = hal(server.path, "plugins").out.splitlines()
    (at,) = [at for at, line in enumerate(lines) if line.startswith("IN USE")]
    assert lines[at + 1].split()[:6] == ["engine", "backfill", "7", "0.250", "s", "1"]
    assert lines[at + 1].endswith("it\\x1b[2Jfell over")
    assert not any(line.startswith("engine fcfs") for line in lines), "what was not called costs nothing"
    assert max(map(len, lines[:at])) <= 100
    text = " ".join(" ".join(lines[:at]).split())
    assert "backfill loaded hal 0.1.0 engine backfill, fcfs-0, fcfs-1, " in text
    assert "fcfs-29 EASY backfill" in text


def test_where_there_are_no_plugins_only_the_heads_are_printed(capsys):
    print_plugins(Console({}), [])
    assert capsys.readouterr().out.split()[:2] == ["NAME", "STATUS"]


def test_plugins_of_this_environment_need_no_daemon(tmp_path):
    here = hal(tmp_path / "none.sock", "plugins", "--here", "--json")
    names = [each["name"] for each in json.loads(here.out)["plugins"]]
    assert (here.code, "metal" in names) == (0, True)
    without = hal(tmp_path / "none.sock", "plugins")
    assert (without.code, "hal plugins --here" in without.err) == (1, True)


def test_events_are_printed_up_to_now_or_followed(server):
    lines = [
        b'id: 2\nevent: JobHeld\ndata: {"time_s": 1764000000.0, "by": "a\\u001b"}\n\n',
        b"id: 3\nevent: Tick\ndata: {}\n\n",
    ]
    server.answer("GET", "/v1/status", STATUS | {"sequence": 23})
    server.answer("GET", "/v1/events", lambda _: Reply(stream=[*lines, b"id: 23\n\n"]))
    result = hal(server.path, "events")
    assert (result.code, result.out) == (0, "2 2025-11-24 16:00:00 JobHeld by=a\\x1b\n3 - Tick\n")
    assert server.requests[-1].query == {"after": "3", "until": "23"}, "the newest twenty, and that is all"
    hal(server.path, "events", "--job", "12")
    assert server.requests[-1].query == {"after": "0", "until": "23", "job_id": "12"}, "all of the job"
    server.answer("GET", "/v1/events", lambda _: Reply(stream=lines))
    server.answer("GET", "/v1/status", STATUS | {"sequence": 3})
    first = json.loads(hal(server.path, "events", "--after", "0", "--json", "--job", "12").out.splitlines()[0])
    assert first == {"sequence": 2, "event": "JobHeld", "data": {"time_s": 1764000000.0, "by": "a\x1b"}}
    process = start_hal(server.path, "events", "--follow", "--json", "--after", "1")
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline())["sequence"] for _ in range(3)]
    process.stdout.close()
    assert (seen, process.wait(60)) == ([2, 3, 2], 141), "a stream that ended is taken up again"
    assert server.requests[-1].query["after"] == "3"
    assert process.stderr is not None
    process.stderr.close()


def test_a_closed_stdout_is_silent(server):
    server.answer("GET", "/v1/jobs", listing(*(job(job_id=number) for number in range(3000))))
    pipeline = f"set -o pipefail; {' '.join(COMMAND)} queue | head -1"
    done = subprocess.run(
        ["bash", "-c", pipeline], env=environment(server.path), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (141, b"")
    assert done.stdout.startswith(b"JOB ")


def test_a_full_disk_is_told_and_a_missing_stdout_borne(server):
    server.answer("GET", "/v1/jobs", listing(job()))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "queue"],
            env=environment(server.path),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"hal: No space left on device\n")
    shell = f"{' '.join(COMMAND)} queue >&-"
    done = subprocess.run(
        ["bash", "-c", shell], env=environment(server.path), capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr


def test_a_daemon_of_another_version_is_told(server):
    server.answer("GET", "/v1/jobs", {"items": []})
    result = hal(server.path, "queue")
    assert (result.code, "another version" in result.err) == (1, True)


def test_a_bug_of_the_daemon_is_told_in_one_line(server):
    server.answer("GET", "/v1/jobs", error(500, "internal", "a bug in HAL; the daemon's log has the details"))
    assert hal(server.path, "queue").err == "hal: a bug in HAL; the daemon's log has the details\n"


@pytest.mark.parametrize(
    "name", sorted(set(all_commands()) - {"completion", "man", "sessions"})
)  # They need no daemon.
def test_no_command_hangs_or_breaks_without_a_daemon(tmp_path, name):
    words = {
        "submit": ["--", "true"], "run": ["true"], "nodes": [], "config": ["show"], "priority": ["1", "2"],
        "daemon": [str(tmp_path / "none.yaml")], "agent": ["--x"], "dev": ["--nodes", "0"], "demo": ["--x"],
    }  # fmt: skip
    needs_job = {"show", "logs", "cancel", "hold", "release", "requeue"}
    result = hal(tmp_path / "none.sock", name, *words.get(name, ["7"] if name in needs_job else []))
    assert result.code in (1, 2, 78)
    assert name == "doctor" or result.err.startswith("hal: ")


def test_the_table_of_commands_is_whole():
    for group in COMMANDS.values():
        for name in group:
            if name not in WITH_A_JOB | {"completion"}:
                assert command_parser(name).option_names()


def test_how_a_job_ended_is_part_of_show(server):
    end = {**END, "kind": "cancelled", "by": "root", "exit_code": None}
    server.answer("GET", "/v1/jobs/12", job_details(state="CANCELLED", end=end))
    assert "cancelled by root" in hal(server.path, "show", "12").out
