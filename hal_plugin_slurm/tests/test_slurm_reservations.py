"""What is read of Slurm's reservations, and that one of which nothing is understood does not hide the others."""

from __future__ import annotations

import logging

import httpx
import pytest

from hal_plugin_slurm.command_line import CommandLine
from hal_plugin_slurm.rest import Rest
from hal_plugin_slurm.shell import Shell
from hal_plugin_slurm.way import SlurmReservation, Way

LINES = (
    "ReservationName=licences StartTime=10 EndTime=20 Nodes=(null) NodeCnt=0 Flags=ANY_NODES TRES=(null) State=ACTIVE",
    "ReservationName=odd StartTime=10 EndTime=Unknown Nodes=n1 NodeCnt=1 TRES=cpu=2 State=ACTIVE",
    "ReservationName=course StartTime=10 EndTime=20 Nodes=n[1-2] NodeCnt=2 TRES=cpu=8 State=ACTIVE",
)
ENTRIES = (
    {"name": "licences", "start_time": 10, "end_time": 20, "node_list": "", "tres": ""},
    {
        "name": "odd",
        "start_time": {"set": True, "number": 10},
        "end_time": {"set": False, "number": 0},
        "tres": "cpu=2",
    },
    {"name": "course", "start_time": 10, "end_time": 20, "node_list": "n[1-2]", "tres": "cpu=8"},
)
READ = [SlurmReservation("licences", "", 10.0, 20.0, 0), SlurmReservation("course", "n[1-2]", 10.0, 20.0, 8)]


@pytest.fixture(params=["commands", "rest"])
def way(request, tmp_path) -> Way:
    if request.param == "rest":
        return Rest(
            lambda: httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(answer_of_slurmrestd)), None
        )
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(LINES) + "\nEND\n")
    program.chmod(0o755)
    return CommandLine(Shell("", {"PATH": f"{tmp_path}:/usr/bin:/bin"}, 60.0), "root")


def answer_of_slurmrestd(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/openapi/v3":
        return httpx.Response(200, json={"paths": {"/slurm/v0.0.40/jobs": {}}})
    return httpx.Response(200, json={"reservations": ENTRIES})


async def test_a_reservation_that_cannot_be_read_is_left_out_and_said_once(way: Way, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, logger="hal.slurm")
    assert await way.reservations() == READ
    assert await way.reservations() == READ
    (said,) = caplog.messages
    assert "odd" in said
