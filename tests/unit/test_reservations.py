"""Reservations: their windows against a naive count, what is refused when they are made, what people see of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hal_core.config.reading import parse_configuration
from hal_core.errors import Conflict, InvalidInput, NotFound, Refused, UserError
from hal_core.models.message import AddReservation, RemoveReservation, Submission, Submit
from hal_core.models.node import NodeName, Reservation
from hal_core.models.reservation import ALL_NODES, Holds, first_conflict
from hal_core.rules.explain import explain
from hal_engine_backfill.easy import Easy
from tests.support.core_world import ADA, World, make_cluster, make_spec
from tests.support.rest_api import ADA as ADA_UID, OPERATOR, serving_api

NOW_S = 1000.0


def course(**fields) -> Reservation:
    given_fields = {"name": "course", "nodes": ("n0",), "start_time_s": 2000.0, "duration_s": 500.0, "users": ("ada",)}
    return Reservation(**given_fields | {"by": "oper"} | fields)


def a_world(*reservations) -> World:
    world = World(make_cluster(3), Easy()).join()
    for each in reservations:
        world.tell(AddReservation(each))
    return world


# -- windows -----------------------------------------------------------------------------------------------------------

some_reservations = st.builds(
    lambda start_s, duration_s, gap_s, until_s: course(
        start_time_s=float(start_s),
        duration_s=float(duration_s),
        every_s=0.0 if gap_s is None else float(duration_s + gap_s),
        until_s=None if until_s is None else float(until_s),
    ),
    st.integers(0, 50),
    st.integers(1, 20),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 150),
)


def all_windows(reservation, until_s=300.0):
    found, start_s = [], reservation.start_time_s
    while start_s < until_s:
        found.append((start_s, start_s + reservation.duration_s))
        start_s += reservation.every_s or math.inf
        if reservation.until_s is not None and start_s >= reservation.until_s:
            break
    return found


@given(some_reservations, st.integers(0, 200))
def test_the_window_is_the_first_that_is_not_over(reservation, time_s):
    expected = next((each for each in all_windows(reservation) if each[1] > time_s), None)
    assert reservation.window_at(float(time_s)) == expected


@given(some_reservations, some_reservations, st.integers(0, 100))
def test_the_first_conflict_is_the_first_second_that_both_hold(first, second, from_s):
    mine, other = all_windows(first), all_windows(second)
    both = [
        time_s
        for time_s in range(from_s, 290)
        if any(a <= time_s < b for a, b in mine) and any(a <= time_s < b for a, b in other)
    ]
    found = first_conflict(first, second, float(from_s))
    assert (both[0] if both else None) == (found if found is not None and found < 290 else None)


@given(st.lists(some_reservations, max_size=3), st.integers(0, 100), st.integers(1, 60), st.data())
def test_where_a_job_may_start_is_what_a_naive_reading_says(reservations, start_s, limit_s, data):
    names = ("n0", "n1", "n2")
    numbered = {NodeName(name): number for number, name in enumerate(names)}
    reservations = [
        course(
            name=f"r{at}",
            nodes=tuple(data.draw(st.sets(st.sampled_from(names), min_size=1))),
            start_time_s=each.start_time_s,
            duration_s=each.duration_s,
            every_s=each.every_s,
            until_s=each.until_s,
        )
        for at, each in enumerate(reservations)
    ]
    wanted = data.draw(st.sampled_from(["", "r0", "r1", "unknown"]))
    allowed = Holds(reservations, numbered).nodes(wanted, float(limit_s), float(start_s))
    end_s = start_s + limit_s
    by_name = {each.name: each for each in reservations}
    for node, number in numbered.items():
        is_free = all(
            node not in each.nodes or not any(a < end_s and b > start_s for a, b in all_windows(each))
            for each in reservations
            if each.name != wanted
        )
        own = by_name.get(wanted)
        is_inside = (
            own is not None and node in own.nodes and any(a <= start_s and end_s <= b for a, b in all_windows(own))
        )
        assert bool(allowed >> number & 1) == (is_free and (not wanted or is_inside))


def test_without_reservations_all_nodes_are_open():
    assert Holds((), {}).nodes("", math.inf, 0.0) == ALL_NODES


# -- making and removing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "error", "words"),
    [
        (AddReservation(course(start_time_s=10.0)), InvalidInput, "start: the reservation would be over already"),
        (AddReservation(course(nodes=("n00",))), NotFound, "no node named 'n00'.* 'n0'"),
        (AddReservation(course(name="kept")), Conflict, "there is a reservation 'kept' already"),
        (
            AddReservation(course(nodes=("n2",))),
            Conflict,
            "reservation kept holds n2 too, first at 1970-01-01T00:33:20Z",
        ),
        (AddReservation(course(nodes=("n1",))), Conflict, "may still run there then: 2; choose a later start"),
        (AddReservation(course(nodes=()), node_count=2), Refused, "1 nodes of partition all .* 2 asked"),
        (AddReservation(course(nodes=()), 1, "al"), InvalidInput, "no partition named 'al'.* 'all'"),
        (RemoveReservation("kep", "oper"), NotFound, "there is no reservation 'kep'.* 'kept'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(message, error, words):
    world = a_world(course(name="kept", nodes=("n2",)))
    world.core.engine = Easy()
    world.start(cpus_per_task=4, walltime_s=900.0)
    world.start(cpus_per_task=4, walltime_s=1100.0)
    busy = {world.state.table.nodes[n].name for n in world.activity(2).node_numbers}
    assert busy == {"n1"}
    with pytest.raises(error, match=words):
        world.tell(message)


def test_what_runs_on_is_let_run_if_so_wanted():
    world = a_world()
    world.start(cpus_per_task=4)
    world.tell(AddReservation(course(), does_ignore_jobs=True))
    assert world.state.reservations.by_name["course"] == course()


def test_so_many_nodes_are_chosen_where_nothing_is_in_the_way():
    world = a_world(course(name="kept", nodes=("n2",)))
    world.start(cpus_per_task=4)
    world.tell(AddReservation(course(nodes=()), node_count=1))
    assert world.state.reservations.by_name["course"].nodes == ("n1",)


def test_maintenance_may_be_laid_over_a_reservation():
    world = a_world(course(), course(name="repair", users=()))
    assert list(world.state.reservations.by_name) == ["course", "repair"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reservation": "cours", "walltime_s": 60.0}, "there is no reservation 'cours'.* 'course'"),
        ({"reservation": "course"}, "lasts 500 s; give a time limit that is not longer"),
        ({"reservation": "course", "walltime_s": 501.0}, "lasts 500 s"),
        ({"reservation": "private", "walltime_s": 60.0}, "private is not for ada; it is for: bob, account physics"),
        ({"reservation": "repair", "walltime_s": 60.0}, "it is for: maintenance, nobody"),
    ],
)
def test_a_job_that_cannot_use_its_reservation_is_refused(fields, words):
    private = course(name="private", nodes=("n1",), users=("bob",), accounts=("physics",))
    world = a_world(course(), private, course(name="repair", nodes=("n2",), users=()))
    with pytest.raises(UserError, match=words):
        world.tell(Submit((Submission("", ADA, make_spec(**fields)),)))
    world.submit(reservation="private", account="physics", walltime_s=60.0)


def test_what_is_over_goes_with_the_next_change_and_the_state_survives_a_restart():
    world = a_world(course())
    world.now_s = 2500.0
    world.tell(AddReservation(course(name="next", start_time_s=9000.0)))
    assert list(world.state.reservations.by_name) == ["next"]
    world.check_at_end()


# -- what people see ---------------------------------------------------------------------------------------------------


def reason_of(world, job_id):
    found = explain(world.state, world.job(job_id), world.now_s)
    return found.reason, found.text


def test_explain_names_the_reservation():
    world = a_world(course(nodes=("n0", "n1", "n2")))
    inside = world.submit(reservation="course", walltime_s=60.0)
    outside = world.submit(walltime_s=1001.0)
    world.plan()
    assert reason_of(world, inside) == (
        "reservation",
        "its reservation course begins at 1970-01-01T00:33:20Z",
    )
    text = "with a time limit of 1001 s it would run into course on nodes that have room for it now"
    assert reason_of(world, outside) == ("reservation", text)
    world.now_s = 2450.0
    assert reason_of(world, inside)[1] == "its time limit reaches beyond the end of its reservation course"
    world.tell(RemoveReservation("course", "oper"))
    assert reason_of(world, inside)[1] == "its reservation course is over or was removed"


YAML = """
nodes: [{names: ['n[0-3]'], cpus: 4, memory: 1G}]
partitions: [{name: all}]
reservations:
  - {name: course, nodes: ['n[0-1]'], start: 2030-01-07T08:00+01:00, duration: 2h, every: 1w, users: [ada]}
"""


def test_the_configuration_may_hold_reservations():
    (found,) = parse_configuration(YAML, "hal.yaml").cluster.reservations
    assert found == Reservation(
        "course", ("n0", "n1"), 1893999600.0, 7200.0, 604_800.0, users=("ada",)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("n[0-1]", "n[3-4]"), r"hal.yaml:5:.* reservations\[0\].nodes: no such node: .*n4"),
        (("users: [ada]", "maintenance: true, users: [ada]"), "give users, accounts, or `maintenance: true`"),
        (("every: 1w", "every: 1h"), "the next one would begin before the last has ended"),
        (("duration: 2h", "duration: 0"), "is too short; it must be 1s at least"),
        (("2030-01-07T08:00+01:00", "tomorrow"), "is not a date; write 2030-01-31T16:30Z"),
    ],
)
def test_a_wrong_one_is_told_with_its_line(change, words):
    with pytest.raises(InvalidInput, match=words):
        parse_configuration(YAML.replace(*change), "hal.yaml")


REQUEST = {"name": "course", "nodes": ["n1"], "start": "now+1hour", "duration": "1h", "users": ["ada"]}


async def test_made_seen_and_removed_over_rest(tmp_path: Path):
    async with serving_api(tmp_path / "s") as api:
        made = (await api.post("/v1/reservations", REQUEST, uid=OPERATOR)).json()
        assert (made["nodes"], made["by"], made["is_active"], made["duration_s"]) == (["n1"], "oper", False, 3600.0)
        listed = (await api.get("/v1/reservations", uid=ADA_UID)).json()["reservations"]
        assert [each["name"] for each in listed] == ["course"]
        assert (await api.get("/v1/reservations/course")).json() == made
        job_id = await api.submit(options=[["reservation", "course"], ["time", "10"]])
        assert (await api.get(f"/v1/jobs/{job_id}")).json()["reason"]["kind"] == "reservation"
        removed = await api.post("/v1/reservations/course/remove", {}, uid=OPERATOR)
        assert removed.json() == {"name": "course"}
        assert (await api.get("/v1/reservations/course")).status == 404


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"duration": "0"}, "duration"),
        ({"every": "10m"}, "every"),
        ({"until": "now+1day"}, "until"),
        ({"node_count": 1}, "nodes"),
        ({"nodes": ["n1", "n1"]}, "nodes"),
        ({"partition": "all"}, "partition"),
        ({"is_maintenance": True}, "users"),
        ({"users": []}, "users"),
        ({"start": "soon"}, "start"),
        ({"name": "a b"}, "name"),
        ({"users": ["a b"]}, "users"),
    ],
)
async def test_every_field_is_checked(tmp_path: Path, change, place):
    async with serving_api(tmp_path / "s") as api:
        answer = await api.post("/v1/reservations", REQUEST | change, uid=OPERATOR)
        assert answer.status == 422
        assert [problem["place"] for problem in answer.json()["error"]["problems"]] == [place]
