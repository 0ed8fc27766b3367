"""Run the races of a hostile user at their pass figures: does root ever touch what the user exchanges?

`.venv/bin/python -m tests.campaigns.attacks [--outputs 20000] [--scripts 10000] [--steps 10000]
[--turns 5] [--json]`, as root.
Jobs are launched, by the functions that a supervisor calls, with output where their user exchanges files and folders
for links as fast as possible; scripts are written and removed while their owner attacks the folder; users and operators
ask for what is not theirs, in any order; and bombs go off beside somebody's work on the same node. Run it
alone on the machine, or what others do counts as well. Exit code 1 if anything was reached that should not be, or if
that work was slowed down by more than a tenth.
"""

from __future__ import annotations

import os
import pwd
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from hal_core.agent.launcher import records
from hal_core.agent.launcher.supervisor import write_script
from hal_core.models.job import Owner
from tests.campaigns.common import Campaign, Figures, progress
from tests.support.attackers import attacker, launcher_order
from tests.support.neighbours import Tenant, paces
from tests.support.races import FORBIDDEN, OutputRace, Victim, scripts_attack
from tests.support.role_play import ASKERS, CHANGES, OWNERS, play

USER = "halracer"
BOMBER = "halbomber"
STEPS_PER_API = 500
KEYS = 20
BOMB_S = 3.0
PACE_MIN = 0.9


@contextmanager
def user_with_home(name: str = USER) -> Iterator[tuple[pwd.struct_passwd, Path]]:
    """A user of this machine, made for this, and a directory with a home for it."""
    subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
    subprocess.run(["useradd", "--no-create-home", "--user-group", name], check=True)
    try:
        with tempfile.TemporaryDirectory() as made:
            user, directory = pwd.getpwnam(name), Path(made)
            directory.chmod(0o711)
            (directory / "home").mkdir()
            os.chown(directory / "home", user.pw_uid, user.pw_gid)
            yield user, directory
    finally:
        subprocess.run(["userdel", "--force", name], check=True)


def race_outputs(tries: int) -> dict[str, int]:
    with user_with_home() as (user, directory):
        return dict(OutputRace(user, directory / "home", Victim(directory / "victim")).run(tries))


def race_scripts(tries: int) -> dict[str, int]:
    """How many were written and removed, how often their owner reached one, and what of it should not have been."""
    with user_with_home() as (user, directory):
        home, victim, scripts = directory / "home", Victim(directory / "victim"), directory / "scripts"
        scripts.mkdir(mode=0o711)
        order, _ = launcher_order(user, ["/bin/true"], home / "out")
        order.script = b"#!/bin/sh\n"
        reached = 0
        with attacker(user, scripts_attack(scripts, home, victim, KEYS)):
            for number in range(tries):
                path = os.fsencode(scripts / f"{number % KEYS + 1}.0.1")
                write_script(path, order)
                reached += os.stat(path).st_mode & 0o7777 != 0o500
                records.clear(None, path)
        victim.check()
        assert list(scripts.iterdir()) == []
        forbidden = (home / FORBIDDEN).read_text().split() if (home / FORBIDDEN).exists() else []
        return {"removed": tries, "reached": reached, "escaped": len(forbidden)}


def play_roles(steps: int, dice: random.Random) -> dict[str, int]:
    for _ in range(0, steps, STEPS_PER_API):
        actions = [
            (dice.choice(ASKERS), dice.choice(sorted(CHANGES)), dice.choice(OWNERS)) for _ in range(STEPS_PER_API)
        ]
        with tempfile.TemporaryDirectory() as directory:
            trio.run(play, Path(directory), actions)
    return {"steps": steps}


def set_off_bombs(turns: int) -> dict[str, float]:
    """The pace of a neighbour beside each, as a share of its pace alone."""
    with user_with_home() as victim, user_with_home(BOMBER) as bomber, tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        of_victim, of_bomber = (
            Tenant(Owner(user.pw_name, user.pw_uid, user.pw_gid), place / "home") for user, place in (victim, bomber)
        )
        return trio.run(paces, Path(name), of_victim, of_bomber, BOMB_S, turns)


def measure(campaign: Campaign) -> Figures:
    given = campaign.given
    figures: Figures = {}
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "outputs": lambda: race_outputs(given.outputs),
        "scripts": lambda: race_scripts(given.scripts),
        "roles": lambda: play_roles(given.steps, random.Random(campaign.seed)),
        "neighbours": lambda: set_off_bombs(given.turns),
    }
    for name, run in runs.items():
        try:
            figures[name] = found = run()
        except AssertionError as error:
            campaign.problems.append(f"{name}: {error}")
        else:
            slowed = name == "neighbours" and min(found.values(), default=1.0) < PACE_MIN
            if found.get("escaped") or slowed:
                campaign.problems.append(f"{name}: {found}")
        progress(f"{name}: {figures.get(name)}")
    return figures


if __name__ == "__main__":
    mine = Campaign("attacks", __doc__)
    mine.parser.add_argument("--outputs", type=int, default=20_000, help="launches in the race about output paths")
    mine.parser.add_argument("--scripts", type=int, default=10_000, help="scripts written and removed under attack")
    mine.parser.add_argument("--steps", type=int, default=10_000, help="requests in the play of roles")
    mine.parser.add_argument("--turns", type=int, default=5, help="how often each bomb goes off beside a neighbour")
    mine.main(measure)
