"""What pilot.sh makes of its agent's end: the documentation's own script, with a shell script in the place of `hal`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pilots import pilot_script

PATIENCE_S = 60
HAL = """#!/bin/sh
[ "$2" = enroll ] && exec cat >/dev/null
echo "$6" >>agents
"""
LEFT_BEHIND = """
sh ./left "$6" &
until [ -e told_how ]; do "$sleep" 0.02; done
exit 3
"""
TELLS_WHETHER_ITS_STATE_IS_THERE = """
trap 'was_told=yes' TERM
echo >told_how
until [ -n "$was_told" ] && [ -e five_passed ]; do "$sleep" 0.02; done
if [ -d "$1" ]; then echo there; else echo gone; fi >found
mv found state_at_the_end
"""
HEEDS_NOTHING = """
trap '' TERM
echo >told_how
until [ -e let_go ]; do "$sleep" 0.02; done
"""
PASSES_AT_ONCE = """#!/bin/sh
echo "$1" >>slept
"""
ENDS_WHAT_IS_LEFT = """
if [ "$(wc -l <slept)" -ge 5 ]; then
    echo >five_passed
    until [ -e state_at_the_end ]; do "$sleep" 0.02; done
fi
"""


class Pilot:
    """Its `sleep` does not wait, but says for how long it was told to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("sleep", PASSES_AT_ONCE)
        self.write("pilot.sh", pilot_script({"hal": directory / "hal", "directory": directory}))

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)

    def exit_code(self) -> int:
        """With the state of the agent gone from the disk."""
        own = {"PATH": f"{self.directory}:{os.environ['PATH']}", "sleep": shutil.which("sleep") or "sleep"}
        ended = subprocess.run(
            ["sh", "./pilot.sh"], cwd=self.directory, env=os.environ | own, timeout=PATIENCE_S, check=False
        )
        assert not list(self.directory.glob("hal-pilot-*"))
        return ended.returncode

    def lines(self, name: str) -> list[str]:
        return (self.directory / name).read_text().splitlines()


@pytest.fixture
def pilot(tmp_path: Path) -> Iterator[Pilot]:
    yield Pilot(tmp_path)
    subprocess.run(["pkill", "-KILL", "-f", f"{tmp_path}/hal-pilot-"], check=False)


@pytest.mark.parametrize("code", [0, 1, 3, 128])
def test_a_pilot_ends_as_its_agent_did(pilot, code):
    pilot.write("hal", f"{HAL}exit {code}\n")
    assert pilot.exit_code() == code
    assert len(pilot.lines("agents")) == 1


def test_an_agent_that_was_killed_is_started_again_on_the_same_state(pilot):
    pilot.write("hal", HAL + '[ "$(wc -l <agents)" -gt 2 ] || kill -KILL $$\nexit 3\n')
    assert pilot.exit_code() == 3
    assert len(pilot.lines("agents")) == 3
    assert len(set(pilot.lines("agents"))) == 1


def test_what_an_agent_has_left_is_told_to_end_and_has_its_grace(pilot):
    pilot.write("hal", HAL + LEFT_BEHIND)
    pilot.write("left", TELLS_WHETHER_ITS_STATE_IS_THERE)
    pilot.write("sleep", PASSES_AT_ONCE + ENDS_WHAT_IS_LEFT)
    assert pilot.exit_code() == 3
    assert pilot.lines("state_at_the_end") == ["there"]
    assert sum(map(int, pilot.lines("slept"))) >= 5


def test_what_heeds_nothing_keeps_a_pilot_for_half_a_minute(pilot):
    pilot.write("hal", HAL + LEFT_BEHIND)
    pilot.write("left", HEEDS_NOTHING)
    assert pilot.exit_code() == 3
    assert sum(map(int, pilot.lines("slept"))) == 30
