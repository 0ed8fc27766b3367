"""What is read from Slurm's answers, in all their forms, and what is made of wrong ones."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from hal_core import members
from hal_plugin_slurm.pace import Pace
from hal_plugin_slurm.payload import job_of, node_of, state_of, submit_body
from hal_plugin_slurm.rest import Rest
from hal_plugin_slurm.shell import Shell
from hal_plugin_slurm.tokens import Tokens
from hal_plugin_slurm.way import (
    SlurmRefused,
    SlurmSilent,
    SlurmUnanswered,
    Submission,
    gpus_of,
    indices_of,
    wait_status,
)

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


def rest_that(answer, tokens=None) -> Rest:
    return Rest(httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(answer)), tokens)


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
