"""Races that a user can run against root on a node, and the victim that must not notice.

Root opens nothing below a directory of a user's; so whatever the user exchanges there, and however often, it reaches
only what the user can reach anyway. The short versions are in tests/end_to_end/test_node_attacks.py.
"""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs

from tests.support.attackers import attacker, launch

PRECIOUS = "precious"
FORBIDDEN = "forbidden"
"""Where an attacker writes down what should not have been possible."""


@attrs.define
class Victim:
    """A file and a directory of root's that its user wants to reach."""

    directory: Path
    file: Path = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directory.mkdir(mode=0o755)
        self.file = self.directory / "file"
        self.file.write_text(PRECIOUS)
        self.file.chmod(0o600)

    def check(self) -> None:
        assert self.file.read_text() == PRECIOUS
        assert sorted(path.name for path in self.directory.iterdir()) == ["file"]
        for path in (self.directory, self.file):
            assert (path.stat().st_uid, path.stat().st_gid) == (0, 0), path


@attrs.define
class OutputRace:
    """Jobs are launched with output below the user's home, where the user exchanges names as fast as possible."""

    user: pwd.struct_passwd
    home: Path
    victim: Victim

    def run(self, tries: int) -> Counter[str]:
        """How many jobs "ran", and how many were "refused" because their launch met a link; "escaped" must be 0."""
        counts: Counter[str] = Counter()
        with attacker(self.user, self._exchange):
            for number in range(tries):
                path = self.home / ("out" if number % 2 else "folder/out")
                counts["refused" if launch(self.user, ["/bin/true"], path) else "ran"] += 1
        self.victim.check()
        counts["escaped"] = sum(path.lstat().st_uid != self.user.pw_uid for path in self.home.rglob("*"))
        return counts

    def _exchange(self) -> None:
        """A file for a link to the victim's, a folder for a link to its folder, and back."""
        spare, out, folder = self.home / "spare", self.home / "out", self.home / "folder"
        spare.symlink_to(self.victim.file)
        spare.rename(out)
        spare.write_text("")
        spare.rename(out)
        with suppress(OSError):
            folder.rename(self.home / "kept")
        folder.symlink_to(self.victim.directory)
        folder.unlink()
        (self.home / "kept").mkdir(exist_ok=True)
        (self.home / "kept").rename(folder)


def scripts_attack(scripts: Path, home: Path, victim: Victim, count: int) -> Callable[[], None]:
    """What an owner of jobs 1 to `count` does to root's folder of scripts. What succeeds and should not is told."""

    def forbid(what: str, act: Callable[[], object]) -> None:
        with suppress(OSError):
            act()
            with open(home / FORBIDDEN, "a") as told:
                told.write(what + "\n")

    def attack() -> None:
        forbid("list", lambda: os.listdir(scripts))
        forbid("create", lambda: os.mkdir(scripts / "new"))
        for number in range(1, count + 1):
            script = scripts / f"{number}.0.1"
            forbid("exchange", lambda script=script: os.rename(script, home / "taken"))  # type: ignore[misc]
            forbid("remove", lambda script=script: os.unlink(script))  # type: ignore[misc]
            forbid("link", lambda script=script: os.symlink(victim.file, script))  # type: ignore[misc]
            with suppress(OSError):  # It is the user's own file, whatever good that may be.
                os.chmod(script, 0o6777)
                os.link(script, home / "stolen")

    return attack
