"""What is read from Slurm's answers, in all their forms, and what is made of wrong ones."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import httpx
import pytest
import trio

from hal_core import members
from hal_plugin_slurm.pace import Pace
from hal_plugin_slurm.payload import job_of, node_of, past_job_of, state_of, submit_body
from hal_plugin_slurm.pieces import PIECE, read_all
from hal_plugin_slurm.rest import Rest
from hal_plugin_slurm.shell import Shell
from hal_plugin_slurm.tokens import Tokens
from hal_plugin_slurm.way import (
    Amounts,
    SlurmRefused,
    SlurmSilent,
    SlurmUnanswered,
    Submission,
    gpus_of,
    indices_of,
    wait_status,
)
from hal_plugin_slurm.way_options import WayOptions, open_way
from tests.support.slurm_answers import answering

SUBMISSION = Submission("ada", "n@1", "#!/bin/sh\n", "/w", "/o", "/o", memory_mb_per_node=5, gres_per_node="gpu:a100:2")


def test_a_wait_status_is_a_code_or_a_signal():
    assert [wait_status(each) for each in (0, 1792, 9, 4021)] == [(0, None), (7, None), (None, 9), (None, 53)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu:a100:2(S:0-1),shard:8", ("a100", "a100")),
        ("gpu:2", ("", "")),
        ("gpu:a100:1,gpu:h100:1", ("a100", "h100")),
        ("gpu", ("",)),
        ("(null)", ()),
        ("license:5", ()),
    ],
)
def test_the_gpus_of_a_node_are_read(text, found):
    assert gpus_of(text) == found


def test_indices_are_read_with_steps_and_throttle_and_not_if_shortened():
    assert list(members(indices_of("2-5,10-20:5%4"))) == [2, 3, 4, 5, 10, 15, 20]
    assert list(members(indices_of("[7,9]"))) == [7, 9]
    assert indices_of("1,3,5,7,...") == ()
    with pytest.raises(ValueError, match="invalid literal"):
        indices_of("2-x")


def number(value: int, is_set: bool = True) -> dict[str, object]:
    return {"set": is_set, "infinite": False, "number": value}


NEW_JOB = {
    "job_id": 12,
    "array_job_id": number(9),
    "array_task_id": number(3),
    "array_task_string": "",
    "job_state": ["FAILED"],
    "exit_code": {"status": ["ERROR"], "return_code": number(7), "signal": {"id": number(0, is_set=False)}},
    "name": "a@b",
    "start_time": number(100),
    "end_time": number(200),
    "nodes": "n1",
    "state_reason": "NonZeroExitCode",
}
OLD_JOB = NEW_JOB | {
    "array_job_id": 9,
    "array_task_id": 3,
    "job_state": "FAILED",
    "exit_code": 1792,
    "start_time": 100,
    "end_time": 200,
}


def test_both_shapes_say_the_same():
    assert job_of(NEW_JOB) == job_of(OLD_JOB)
    assert (job_of(OLD_JOB).native_id, job_of(OLD_JOB).index, job_of(OLD_JOB).exit_code) == (9, 3, 7)
    old_node = {"name": "n", "state": "idle", "state_flags": ["DRAIN"], "cpus": 2, "real_memory": 5, "gres": ""}
    assert node_of(old_node) == node_of(old_node | {"state": ["IDLE", "DRAIN"], "state_flags": []})


def test_a_job_that_completes_has_not_ended():
    assert state_of(["FAILED", "COMPLETING"]) == state_of("COMPLETING") == "COMPLETING"
    assert state_of(["CONFIGURING", "RUNNING"]) == "RUNNING"


def test_what_is_sent_fits_the_version():
    old, new = submit_body(SUBMISSION, 38), submit_body(SUBMISSION, 40)
    assert (old["job"]["memory_per_node"], old["job"]["gres"]) == (5, "gpu:a100:2")
    assert (new["job"]["memory_per_node"], new["job"]["tres_per_node"]) == (number(5), "gres/gpu:a100:2")
    assert isinstance(old["job"]["environment"], dict)
    assert isinstance(new["job"]["environment"], list)
    assert old["script"] == new["job"]["script"] == SUBMISSION.script


@pytest.mark.parametrize("version", [38, 40])
def test_a_job_finds_slurms_programs_where_the_site_has_them(version):
    job = submit_body(SUBMISSION, version, "/opt/slurm/bin")["job"]
    assert "/opt/slurm/bin:/usr/local/bin:/usr/bin:/bin" in str(job["environment"])


async def test_commands_are_looked_for_where_the_site_has_them(tmp_path):
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\necho 'it is I' >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(SlurmUnanswered, match="it is I"):
        await open_way(WayOptions(programs=str(tmp_path)), time.time).jobs()


def rest_that(answer, tokens=None) -> Rest:
    return Rest(lambda: httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(answer)), tokens)


def served(request: httpx.Request) -> httpx.Response | None:
    if request.url.path == "/openapi/v3":
        return httpx.Response(200, json={"paths": {"/slurm/v0.0.37/jobs": {}, "/slurm/v0.0.38/jobs": {}}})
    return None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, text='{"jobs": ['), SlurmUnanswered),
        (httpx.Response(200, json=[]), SlurmUnanswered),
        (httpx.Response(200, json={"jobs": [{"name": "half"}]}), SlurmUnanswered),
        (httpx.Response(200, json={}), SlurmUnanswered),
        (httpx.Response(502, text="<html>"), SlurmUnanswered),
        (httpx.Response(500, json={"errors": [{"error_number": -1, "error": "Unspecified error"}]}), SlurmUnanswered),
        (httpx.Response(404, text="gone"), SlurmSilent),
        (httpx.ConnectError("refused"), SlurmSilent),
        (httpx.ReadTimeout("slow"), SlurmUnanswered),
    ],
)
async def test_garbage_is_no_answer(answer, error):
    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return served(request) or answer

    with pytest.raises(SlurmSilent) as caught:
        await rest_that(respond).jobs()
    assert type(caught.value) is error


async def test_a_submission_with_an_id_is_taken_whatever_errors_it_has():
    def respond(request: httpx.Request) -> httpx.Response:
        held = {"job_id": 42, "errors": [{"error_code": 2042, "error": "Job is in held state"}]}
        return served(request) or httpx.Response(200, json=held)

    assert await rest_that(respond).submit(SUBMISSION) == 42


async def test_a_refused_submission_and_a_lost_one_are_told_apart():
    codes = iter([2000, 5005])

    def respond(request: httpx.Request) -> httpx.Response:
        error = served(request)
        return error or httpx.Response(500, json={"errors": [{"error_code": next(codes), "error": "words"}]})

    rest = rest_that(respond)
    with pytest.raises(SlurmRefused, match="words"):
        await rest.submit(SUBMISSION)
    with pytest.raises(SlurmUnanswered):
        await rest.submit(SUBMISSION)


async def test_a_version_that_nobody_here_knows_is_named():
    paths = {"/slurm/v0.0.99/jobs": {}}
    with pytest.raises(SlurmSilent, match=r"serves v0.0.99; this bridge speaks"):
        await rest_that(lambda _: httpx.Response(200, json={"paths": paths})).jobs()


def jwt(user: str, end_time_s: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"sun": user, "exp": end_time_s}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


async def test_a_token_is_renewed_before_it_ends_and_an_expired_one_is_named(tmp_path):
    now_s = 1000.0
    path = tmp_path / "token"
    path.write_text(f"SLURM_JWT={jwt('ada', 2000)}\n")
    tokens = Tokens(str(path), "", lambda: now_s)
    first = await tokens.current()
    assert (first.user, first.end_time_s) == ("ada", 2000)
    path.write_text(jwt("ada", 3000))
    assert await tokens.current() == first
    now_s = 1950.0
    assert (await tokens.current()).end_time_s == 3000
    now_s = 4000.0
    with pytest.raises(SlurmSilent, match="expired 1000 s ago"):
        await tokens.current()
    path.write_text("words")
    with pytest.raises(SlurmSilent, match="no JSON web token"):
        await tokens.current()


async def test_a_token_of_a_plain_user_submits_only_for_that_user(tmp_path):
    path = tmp_path / "token"
    path.write_text(jwt("bob", 2000))
    rest = rest_that(lambda _: httpx.Response(500), Tokens(str(path), "", lambda: 0.0))
    with pytest.raises(SlurmRefused, match="bob"):
        await rest.submit(SUBMISSION)


def test_the_pace_follows_what_happens_and_what_an_answer_costs():
    pace = Pace(1.0, 30.0)
    for _ in range(20):
        pace.learn(did_change=False, took_s=0.05)
    assert pace.interval_s == 30.0
    pace.learn(did_change=True, took_s=0.05)
    assert pace.interval_s == 1.0
    pace.learn(did_change=True, took_s=0.5)
    assert pace.interval_s == 5.0, "a tenth of its time"
    pace.quicken()
    assert pace.interval_s == 5.0
    pace.learn(did_change=True, took_s=50.0)
    assert pace.interval_s == 30.0, "the longest interval is a promise"


async def test_a_program_that_cannot_start_or_does_not_end_is_told():
    with pytest.raises(SlurmSilent, match="cannot start"):
        await Shell().run(["/nonexistent/program"])
    with pytest.raises(SlurmUnanswered, match="did not end"):
        await Shell(answer_timeout_s=0.1).run(["sleep", "100"])
    done = await Shell(environment={"A": "b c"}).run(["sh", "-c", "cat; echo $A >&2; exit 3"], "words")
    assert (done.code, done.output, done.error) == (3, "words", "b c\n")


def test_what_slurm_24_11_really_answers_is_read():
    """As its slurmrestd answered: three jobs of which one failed, one runs on two nodes and one is of an array."""
    answers = json.loads((Path(__file__).parent / "data" / "slurm_24_11.json").read_text())
    failed, running, element = map(job_of, answers["jobs v0.0.42"])
    assert (failed.state, failed.exit_code, failed.signal, failed.nodes) == ("FAILED", 3, None, "n01")
    assert (running.state, running.nodes, running.limit_s) == ("RUNNING", "n[01-02]", 3600.0)
    assert running.amounts == Amounts(2, 2, 200, 4)
    assert running.end_time_s == running.start_time_s + 3600.0
    assert (element.native_id, element.index, element.state) == (3, 0, "COMPLETED")
    assert (running.partition, running.user, running.priority) == ("normal", "root", 1)
    assert list(map(job_of, answers["jobs v0.0.40"])) == [running]
    (node,) = map(node_of, answers["nodes v0.0.42"])
    assert (node.state, node.cpu_count, node.memory_mb, node.gpus) == ("mixed", 8, 16000, ("fake", "fake"))
    assert node.partitions == ("normal", "short")
    past = [past_job_of(each) for each in answers["past jobs v0.0.42"]]
    assert [(each.native_id, each.index, each.state, each.exit_code) for each in past] == [
        *((1, None, "FAILED", 3), (2, None, "RUNNING", 0)),
        (3, 3, "COMPLETED", 0),
    ]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("1792", (7, None)),
        ("9", (None, 9)),
        ("0:0", (0, None)),
        ("7:0", (7, None)),
        ("0:9", (None, 9)),
        ("0:53", (None, 53)),
    ],
)
async def test_squeue_tells_an_end_as_one_number_or_as_two(tmp_path, told, found):
    """22.05 and 24.11: by the commands nothing was understood of the newer one."""
    row = ["1", "1", "N/A", "FAILED", told, "10", "20", "None", "n01", "root", "normal", "1", "1:00:00", "cpu=1,node=1"]
    row += ["5", "(null)"]
    (job,) = await answering(tmp_path, "squeue", [[*row, "a@b"]]).jobs()
    assert (job.exit_code, job.signal) == found


async def test_a_name_says_nothing_of_other_jobs_whatever_is_in_it(tmp_path):
    row = [
        "1",
        "1",
        "N/A",
        "RUNNING",
        "0",
        "10",
        "20",
        "None",
        "n01",
        "root",
        "normal",
        "1",
        "1:00",
        "cpu=1",
        "5",
        "(null)",
    ]
    forged = "|".join(["x\n2", "2", "N/A", "COMPLETED", *row[4:], "victim@hal"])
    (job,) = await answering(tmp_path, "squeue", [[*row, forged]]).jobs()
    assert (job.native_id, job.state, job.name) == (1, "RUNNING", forged)


async def test_half_an_answer_is_none(tmp_path):
    with pytest.raises(SlurmUnanswered, match="columns"):
        await answering(tmp_path, "squeue", [["1", "1", "N/A", "RUNNING"]]).jobs()


async def test_an_answer_about_thousands_of_jobs_is_read_in_pieces_between_which_others_get_their_turn():
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        assert await read_all(str, range(10 * PIECE)) == [str(each) for each in range(10 * PIECE)]
        nursery.cancel_scope.cancel()
    assert turns >= 5


async def test_after_its_connections_were_closed_slurmrestd_is_asked_over_new_ones():
    rest = rest_that(lambda request: served(request) or httpx.Response(200, json={"jobs": []}))
    assert await rest.jobs() == []
    await rest.aclose()
    assert await rest.jobs() == []
    await rest.aclose()


async def test_a_job_that_there_is_not_is_no_reason_to_look_for_another_version():
    """24.11 answers 404 about it; 404 without a reason is about the path."""
    gone = {"errors": [{"error_number": 2017, "description": "Invalid job id specified"}]}
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return served(request) or httpx.Response(404, json=gone)

    rest = rest_that(answer)
    await rest.cancel([(7, None)])
    await rest.cancel([(8, None)])
    assert asked == ["/openapi/v3", "/slurm/v0.0.38/job/7", "/slurm/v0.0.38/job/8"]
    lost = rest_that(lambda request: served(request) or httpx.Response(404, text="no such path"))
    with pytest.raises(SlurmSilent, match="any more"):
        await lost.cancel([(7, None)])
