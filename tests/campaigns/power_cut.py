"""Cut the power of a journal in the middle of its work, some thousand times: is all there that was acknowledged?

`.venv/bin/python -m tests.campaigns.power_cut [--cuts 4000] [--seed S] [--json]`. A writer runs under strace; a disk
model that loses, reorders and tears what was not synced (tests/support/power_model.py) tells what a disk may hold after
each of its system calls; HAL opens that. The next writer goes on from such a disk, so recovery is cut as well.
`kill -9` cannot show any of this, because the page cache survives it. Exit code 1 if an acknowledged event is lost, or
refused.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

from hal_core import errors
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.journal_recovery import rebuild
from tests.campaigns.common import Campaign, Figures
from tests.campaigns.journal_writer import VARIANTS
from tests.support.hal import CHECKOUT
from tests.support.journal_events import Digest, digest_of, events_between, opened
from tests.support.power_model import PowerModel
from tests.support.syscalls import Call, Write, need_strace, traced

CUTS_PER_WRITER = 200
APPENDS_PER_WRITER = 60


@attrs.frozen
class Acknowledged:
    """What the writer has told so far."""

    epoch: int = 0
    sequence: int = 0

    def after(self, call: Call) -> Acknowledged:
        if not isinstance(call, Write) or not call.path.startswith("pipe:"):
            return self
        name, _, number = call.content.decode().partition(" ")
        return attrs.evolve(self, **{name: int(number)}) if name in ("epoch", "sequence") else self


@attrs.define
class PowerCuts:
    """`images` of what a disk held after a cut, each tried once."""

    seed: int
    variant: str = VARIANTS[0]
    outcomes: Counter[str] = attrs.Factory(Counter)
    problems: list[str] = attrs.Factory(list)

    def run(self, cut_count: int) -> None:
        with tempfile.TemporaryDirectory(prefix="hal-power-", dir=memory_directory()) as parent:
            directory = Path(parent)
            image: dict[str, bytes] = {}
            acknowledged = Acknowledged()
            number = 0
            while (left := cut_count - self.outcomes.total()) > 0:
                dice = random.Random(f"{self.seed} {number}")
                number += 1
                found = list(self._one_writer(directory, image, dice, min(left, CUTS_PER_WRITER), acknowledged))
                # On from one of these disks, or from nothing: the first start is cut, too.
                image, acknowledged = dice.choice(found) if dice.random() < 0.7 and found else ({}, Acknowledged())

    def _one_writer(
        self, directory: Path, image: dict[str, bytes], dice: random.Random, count: int, acknowledged: Acknowledged
    ) -> Iterator[tuple[dict[str, bytes], Acknowledged]]:
        """Cuts of one writer's work; those that all went well with, to go on from."""
        state = directory / "state"
        put(image, state)
        before = {str(state / name): content for name, content in image.items()}
        words = ["tests.campaigns.journal_writer", str(state), str(dice.random()), str(APPENDS_PER_WRITER)]
        argv = [sys.executable, "-m", *words, self.variant]
        calls = list(traced(argv, environment(), directory / "log"))
        model = PowerModel(str(state), before)
        chosen = sorted(dice.choices(range(len(calls) + 1), k=count))
        for at in range(len(calls) + 1):
            while chosen and chosen[0] == at:
                chosen.pop(0)
                cut = {os.path.basename(path): content for path, content in model.cut(dice).items()}
                if self._check(cut, acknowledged, state):
                    yield cut, acknowledged
            if at < len(calls):
                model.follow(calls[at])
                acknowledged = acknowledged.after(calls[at])

    def _check(self, image: dict[str, bytes], acknowledged: Acknowledged, state: Path) -> bool:
        put(image, state)
        outcome, problem = after_cut(state, acknowledged)
        self.outcomes[outcome] += 1
        if problem and len(self.problems) < 10:
            self.problems.append(problem)
        return outcome == "kept"


def after_cut(state: Path, acknowledged: Acknowledged) -> tuple[str, str]:
    """`kept`, or `lost` or `refused` with a sentence."""
    try:
        with opened(state) as journal:
            sequence, epoch = journal.sequence, journal.epoch
            digest, _ = rebuild(journal.recover, Digest)
            journal.append(events_between(sequence + 1, sequence + 1))
    except errors.HalError as error:
        return "refused", f"{acknowledged}: {type(error).__name__}: {error}"
    if sequence < acknowledged.sequence:
        return "lost", f"{acknowledged}: only {sequence} events are there"
    if digest.value != digest_of(events_between(1, sequence)):
        return "lost", f"{acknowledged}: events are other than they were"
    if epoch <= acknowledged.epoch:
        return "lost", f"{acknowledged}: the epoch {epoch} was used before"
    report = check_journal(state, Disk())
    problems = [problem for problem in report.problems if "passed over" not in problem]
    return ("lost", f"{acknowledged}: {problems}") if problems else ("kept", "")


def put(image: dict[str, bytes], state: Path) -> None:
    """Make the state directory hold exactly that, or let it be gone if that is nothing."""
    shutil.rmtree(state, ignore_errors=True)
    if image:
        state.mkdir(mode=0o700)
    for name, content in image.items():
        (state / name).write_bytes(content)
        (state / name).chmod(0o600)


def memory_directory() -> str | None:
    """Where files cost no disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'plugins'}"}


def measure(campaign: Campaign) -> Figures:
    need_strace()
    cuts = PowerCuts(campaign.seed, campaign.given.variant)
    cuts.run(campaign.given.cuts)
    campaign.problems += cuts.problems
    names = ("kept", "refused", "lost")
    return {"variant": cuts.variant, "cuts": cuts.outcomes.total()} | {name: cuts.outcomes[name] for name in names}


if __name__ == "__main__":
    mine = Campaign("power_cut", __doc__)
    mine.parser.add_argument("--cuts", type=int, default=4000, help="how often power fails (default: 4000)")
    mine.parser.add_argument("--variant", choices=VARIANTS, default=VARIANTS[0], help="break it on purpose")
    mine.main(measure)
