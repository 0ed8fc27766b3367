"""The table of rights, cell by cell as documented, and held against every route that changes something."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings, strategies as st

from hal_core.models.dataset import DatasetId
from hal_core.models.event import ReservationAdded
from hal_core.models.job import JobId, Owner
from hal_core.models.message import CopiesReported, DrainNode, Hold, JobSelection, PinDataset, StopPool
from hal_core.models.node import NodeName
from hal_core.models.role import Role
from hal_core.rest.app import all_routes
from hal_core.rest.rights import Caller, Forbidden, Verb
from tests.support.rest_api import ADA, ADMINISTRATOR, BOB, OPERATOR, serving_api
from tests.support.role_play import ASKERS, CHANGES, DATASET, NAMES, OWNERS, RESERVATION, named, play

OWN, OTHER = Owner("ada", 1, 1), Owner("bob", 2, 2)
EXPECTED = {
    # verb: (user own, user other, operator own, operator other, administrator own, administrator other)
    Verb.SUBMIT: "+-+-+-",
    Verb.SEE_JOB: "++++++",
    Verb.SEE_PRIVATE: "+-+-++",
    Verb.CONTROL_JOB: "+-++++",
    Verb.SUSPEND_JOB: "--++++",
    Verb.RELEASE_FOREIGN_HOLD: "--++++",
    Verb.LOWER_PRIORITY: "+-++++",
    Verb.RAISE_PRIORITY: "--++++",
    Verb.SEE_NODES: "++++++",
    Verb.CONTROL_NODE: "--++++",
    Verb.RESERVE: "--++++",
    Verb.CONTROL_POOL: "----++",
    Verb.SEE_DATA: "++++++",
    Verb.ADD_DATA: "+-+-+-",
    Verb.CONTROL_DATA: "+-++++",
    Verb.SEE_HAL: "++++++",
    Verb.SEE_REPORTS: "----++",
    Verb.SEE_ACCESS: "--++++",
    Verb.MAKE_TOKEN: "+-+-+-",
}


@pytest.mark.parametrize("verb", Verb)
def test_every_cell_is_as_documented(verb: Verb) -> None:
    cells = ""
    for role in Role:
        caller = Caller("ada", 1, 1, role)
        cells += "".join("+" if caller.may(verb, owner) else "-" for owner in (OWN, OTHER))
    assert cells == EXPECTED[verb]


def test_a_refusal_says_who_can_help() -> None:
    with pytest.raises(Forbidden, match="as user you may not drain or resume nodes; ask an operator or administrator"):
        Caller("ada", 1, 1, Role.USER).insist(Verb.CONTROL_NODE)


KEPT = RESERVATION.replace("new", "kept")


@pytest.mark.parametrize("role", range(4), ids=["own", "other", "operator", "administrator"])
@pytest.mark.parametrize(("path", "body"), CHANGES)
async def test_every_change_asks_for_the_right(tmp_path: Path, path: str, body: str, role: int) -> None:
    async with serving_api(tmp_path / "s") as api:
        job_id = await api.submit(uid=ADA)
        await api.post("/v1/reservations", KEPT.encode(), uid=OPERATOR)
        await api.post("/v1/datasets", DATASET.encode(), uid=ADA)
        sequence = api.kernel.durable_sequence
        target = path.format(job_id=job_id, **NAMES)
        answer = await api.post(target, body.encode(), uid=(ADA, BOB, OPERATOR, ADMINISTRATOR)[role])
        assert answer.status == CHANGES[path, body][role]
        if answer.status == 403:
            assert answer.kind == "forbidden"
            assert api.kernel.durable_sequence == sequence


@pytest.mark.parametrize(("path", "body"), CHANGES)
async def test_what_operators_do_is_in_the_journal_with_their_name(tmp_path: Path, path: str, body: str) -> None:
    async with serving_api(tmp_path / "s") as api:
        options = [["elastic", ""]] if path.endswith("weight") else []
        job_id = await api.submit(uid=ADA, options=options)
        if path.endswith("release"):
            await api.kernel.ask(Hold(JobSelection(JobId(job_id)), "ada"))
        if path.endswith(("requeue", "cancel")):
            api.kernel.plan()
        if path.startswith("/v1/jobs") and path.endswith(("suspend", "resume")):
            api.kernel.plan()
            api.kernel.start(job_id)
        if path == "/v1/jobs/{job_id}/resume":
            await api.post(f"/v1/jobs/{job_id}/suspend", {}, uid=ADMINISTRATOR)
        if path == "/v1/nodes/{name}/resume":
            await api.kernel.ask(DrainNode(NodeName("n1"), "x", "admin"))
        await api.post("/v1/datasets", DATASET.encode(), uid=ADA)
        if path.endswith("evict"):
            await api.kernel.ask(CopiesReported(NodeName("n1"), (DatasetId("genome@1"),)))
        if path.endswith("unpin"):
            await api.kernel.ask(PinDataset("genome", True, "ada"))
        if "reservation" in path and path.endswith("remove"):
            await api.post("/v1/reservations", KEPT.encode(), uid=ADMINISTRATOR)
        if "pools" in path and path.endswith("resume"):
            await api.kernel.ask(StopPool("burst", False, "admin"))
        who, name = (OPERATOR, "oper") if CHANGES[path, body][2] != 403 else (ADMINISTRATOR, "admin")
        before = len(api.kernel.journal.events)
        target = path.format(job_id=job_id, **NAMES)
        answer = await api.post(target, body.encode(), uid=who)
        assert answer.status in (200, 201), answer.body
        events = api.kernel.journal.events[before:]
        by = [
            event.reservation.by if isinstance(event, ReservationAdded) else getattr(event, "by", "")
            for event in events
        ]
        assert name in by, events


def test_no_route_that_changes_something_is_left_out() -> None:
    changing = {route.path for route in all_routes("0") if route.method != "GET"}
    own = {"/v1/datasets", "/v1/jobs", "/v1/jobs/bulk", "/v1/forecasts", "/v1/predictions", "/v1/tokens"}
    own.add("/v1/sessions/{name}")  # what a broker says of its own
    own.add("/v1/jobs/{job_id}/terminal")  # for the owner alone: tests/end_to_end/test_interactive.py
    assert changing == {named(path) for path, _ in CHANGES} | own


async def test_raising_the_priority_at_submission_needs_the_right_too(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s") as api:
        job = {"client_id": "c", "command": ["x"], "options": [["priority", "5"]]}
        assert (await api.post("/v1/jobs", job)).kind == "forbidden"
        assert (await api.post("/v1/jobs/bulk", {"jobs": [job]})).kind == "forbidden"
        assert (await api.post("/v1/jobs", job, uid=OPERATOR)).status == 201


ROLES_IN_ORDER = (Role.USER, Role.OPERATOR, Role.ADMINISTRATOR)


@pytest.mark.parametrize("owner", [None, OWN, OTHER])
@pytest.mark.parametrize("verb", Verb)
def test_a_higher_role_may_do_all_that_a_lower_one_may(verb: Verb, owner: Owner | None) -> None:
    allowed = [Caller("ada", 1, 1, role).may(verb, owner) for role in ROLES_IN_ORDER]
    assert allowed == sorted(allowed)


READS = {
    # route: (ada's own, bob on ada's, operator on ada's, administrator on ada's); hidden is 404, not 403
    "/v1/jobs": (200, 200, 200, 200),
    "/v1/jobs/{job_id}": (200, 200, 200, 200),
    "/v1/jobs/{job_id}/elements": (200, 200, 200, 200),
    "/v1/jobs/{job_id}/script": (200, 404, 404, 200),
    "/v1/jobs/{job_id}/receipt": (200, 200, 200, 200),
    "/v1/jobs/{job_id}/receipt/start": (200, 200, 200, 200),
    "/v1/receipts": (200, 200, 200, 200),
    "/v1/map": (200, 200, 200, 200),
    "/v1/links": (200, 200, 200, 200),
    "/v1/sessions": (200, 200, 200, 200),
    "/v1/nodes": (200, 200, 200, 200),
    "/v1/nodes/{name}": (200, 200, 200, 200),
    "/v1/reservations": (200, 200, 200, 200),
    "/v1/reservations/{reservation}": (200, 200, 200, 200),
    "/v1/datasets": (200, 200, 200, 200),
    "/v1/datasets/{dataset}": (200, 200, 200, 200),
    "/v1/status": (200, 200, 200, 200),
    "/v1/shares": (200, 200, 200, 200),
    "/v1/limits": (200, 200, 200, 200),
    "/v1/tuning": (200, 200, 200, 200),
    "/v1/jobs/{job_id}/terminal": (404, 403, 403, 403),
    "/v1/history": (200, 200, 200, 200),
    "/v1/plugins": (200, 200, 200, 200),
    "/v1/configuration": (200, 200, 200, 200),
    "/v1/openapi.json": (200, 200, 200, 200),
    "/metrics": (200, 200, 200, 200),
}
SECRET = "s3cr3t-of-ada"
PERSONS = (ADA, BOB, OPERATOR, ADMINISTRATOR)


@pytest.mark.parametrize("role", range(4), ids=["own", "other", "operator", "administrator"])
@pytest.mark.parametrize("path", READS)
async def test_every_read_shows_what_the_caller_may_see(tmp_path: Path, path: str, role: int) -> None:
    """What only the owner may see is in every private field; so it is in an answer, or it is not."""
    async with serving_api(tmp_path / "s") as api:
        job_id = await api.submit(
            uid=ADA,
            script=f"#!/bin/sh\necho {SECRET}\n",
            script_name="job.sh",
            arguments=[SECRET],
            working_directory=f"/home/{SECRET}",
            environment=[f"A={SECRET}"],
            options=[["output", SECRET], ["input", f"/{SECRET}"]],
        )
        await api.post("/v1/reservations", KEPT.encode(), uid=OPERATOR)
        await api.post("/v1/datasets", DATASET.encode(), uid=ADA)
        answer = await api.get(path.format(job_id=job_id, **NAMES), uid=PERSONS[role])
        assert answer.status == READS[path][role]
        shows_private = path in ("/v1/jobs/{job_id}", "/v1/jobs/{job_id}/script") and PERSONS[role] in (
            ADA,
            ADMINISTRATOR,
        )
        assert (SECRET in answer.body.decode()) == shows_private


def test_no_route_that_reads_is_left_out() -> None:
    reading = {route.path for route in all_routes("0") if route.method == "GET"}
    read = {named(path) for path in READS}
    assert reading - read <= {
        "/v1/events",
        "/v1/jobs/{job_id}/explanation",
        "/v1/pools",
        "/v1/pools/{name}",
        "/v1/pools/{name}/plan",
        "/v1/reports",
        "/v1/reports/{name}",
    }  # these have tests of their own


ACTIONS = st.tuples(st.sampled_from(ASKERS), st.sampled_from(sorted(CHANGES)), st.sampled_from(OWNERS))


@given(st.lists(ACTIONS, max_size=12))
@settings(max_examples=30, deadline=None)
def test_nobody_gets_beyond_their_role_by_any_sequence(actions: list[tuple[int, tuple[str, str], int]]) -> None:
    """A user changes nothing of others whatever comes before, and nobody's role changes by asking."""
    with tempfile.TemporaryDirectory() as directory:
        trio.run(play, Path(directory), actions)
