"""Damage the files of HAL, some thousand times: is it the same state, or a refusal that names file and event, or told?

`.venv/bin/python -m tests.campaigns.corruption [--flips 2000] [--seed S] [--json]`. One bit is flipped, a file is cut,
or a block of it is lost, in the database, its log, the mark, the snapshots or the records of attempts. Then HAL opens
it. The history may read differently only if `hal doctor --journal` says so. Exit code 1 for a silent difference.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs

from hal_core import errors
from hal_core.agent.launcher import records
from hal_core.kernel.journal import Journal
from hal_core.kernel.journal_check import check_journal
from hal_core.kernel.journal_files import Disk
from hal_core.kernel.journal_reader import JournalReader
from hal_core.kernel.journal_recovery import rebuild
from hal_core.kernel.snapshot import make_snapshot
from hal_core.models.history import HistoryEntry, HistoryFilters
from tests.campaigns.common import Campaign, Figures
from tests.campaigns.power_cut import memory_directory
from tests.support.journal_events import Digest, digest_of, events_between, in_child, opened

EVENT_COUNT = 240
BLOCK_BYTES = 512
FILES = {"journal.sqlite": 8, "journal.sqlite-wal": 6, "mark": 2, "snapshot-80.hal": 1, "snapshot-160.hal": 2}
"""What is damaged, and how often."""

Damage = Callable[[bytes, random.Random], bytes]


def flip(content: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content))]


def lose_block(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(0, len(content), BLOCK_BYTES)
    lost = content[start : start + BLOCK_BYTES]
    return content[:start] + bytes(len(lost)) + content[start + len(lost) :]


DAMAGES: dict[str, tuple[Damage, int]] = {"flip": (flip, 7), "cut": (cut, 2), "lost block": (lose_block, 1)}


@attrs.define
class Corruption:
    """`outcomes` by file and outcome."""

    seed: int
    outcomes: Counter[str] = attrs.Factory(Counter)
    problems: list[str] = attrs.Factory(list)

    def run(self, count: int) -> None:
        dice = random.Random(self.seed)
        with tempfile.TemporaryDirectory(prefix="hal-corruption-", dir=memory_directory()) as parent:
            for kind in ("killed", "closed"):
                intact = make_journal(Path(parent) / kind, is_closed=kind == "closed")
                # Of a copy: opening moves the log into the database.
                truth = tell(Path(shutil.copytree(intact, Path(parent) / f"{kind}-read")))
                names = [name for name in FILES if (intact / name).exists()]
                for _ in range(count * 2 // 5):
                    name = dice.choices(names, [FILES[each] for each in names])[0]
                    self._one_journal(intact, truth, name, dice)
        for _ in range(count - 2 * (count * 2 // 5)):
            self._one_record(dice)

    def _one_journal(self, intact: Path, truth: Told, name: str, dice: random.Random) -> None:
        directory = Path(shutil.copytree(intact, intact.with_name("damaged")))
        how = dice.choices(list(DAMAGES), [weight for _, weight in DAMAGES.values()])[0]
        before = (directory / name).read_bytes()
        after = DAMAGES[how][0](before, dice)
        (directory / name).write_bytes(after)
        outcome = judge(directory, truth) if after != before else "same"
        self._note(name, outcome, f"{how} in {name}, {intact.name}, seed {self.seed}")
        shutil.rmtree(directory)

    def _one_record(self, dice: random.Random) -> None:
        before = make_record(dice)
        how = dice.choice(["flip", "cut"])
        after = DAMAGES[how][0](before, dice)
        self._note("record", judge_record(before, after), f"{how} in a record: {after!r}")

    def _note(self, name: str, outcome: str, where: str) -> None:
        self.outcomes[f"{name}: {outcome}"] += 1
        if outcome.startswith("SILENT"):
            self.problems.append(f"{outcome}: {where}")


@attrs.frozen
class Told:
    """What a journal tells: of its state, and of its history."""

    sequence: int
    digest: bytes
    history: tuple[HistoryEntry, ...]


def make_journal(directory: Path, is_closed: bool) -> Path:
    """With two snapshots, and events that are only in the log; closed, all are in the database, without snapshots."""

    def work() -> None:
        for first in (1, 81):
            with opened(directory) as journal:
                journal.append(events_between(first, first + 79))
            make_snapshot(directory, Digest, Disk())
        journal = Journal.open(directory)
        for first in range(161, EVENT_COUNT + 1, 4):
            journal.append(events_between(first, first + 3))

    assert in_child(work) == 0
    if is_closed:
        tell(directory)
        for path in directory.glob("snapshot-*"):
            path.unlink()
    return directory


def tell(directory: Path) -> Told:
    with opened(directory) as journal:
        digest, _ = rebuild(journal.recover, Digest)
        entries = journal.history(HistoryFilters(), 1000).entries
        return Told(journal.sequence, digest.value, entries)


def judge(directory: Path, truth: Told) -> str:
    checked = copy_and_check(directory)
    try:
        with opened(directory) as journal:
            sequence, digest = journal.sequence, rebuild(journal.recover, Digest)[0].value
    except errors.JournalDamaged as error:
        is_named = 1 <= error.sequence <= EVENT_COUNT + 1 and str(error.sequence) in str(error)
        return "refused" if is_named else f"SILENT: refused without naming the event: {error}"
    if (sequence, digest) != (EVENT_COUNT, digest_of(events_between(1, EVENT_COUNT))):
        return "SILENT difference of the state"
    reader = JournalReader(directory)
    try:
        history = reader.history(HistoryFilters(), 1000).entries
    except errors.HalError:
        return "state same, history refused" if checked else "SILENT: the history is refused and the check says nothing"
    finally:
        reader.close()
    if history != truth.history:
        return "state same, history told to be damaged" if checked else "SILENT difference of the history"
    return "same, damage told" if checked else "same"


def copy_and_check(directory: Path) -> tuple[str, ...]:
    """As `hal doctor --journal` does it, before anything else looks at the files."""
    copy = Path(shutil.copytree(directory, directory.with_name("checked")))
    try:
        return check_journal(copy, Disk()).problems
    except errors.HalError as error:
        return (str(error),)
    finally:
        shutil.rmtree(copy)


def make_record(dice: random.Random) -> bytes:
    """A record as far as an attempt may have come."""
    end = records.End(dice.choice(["exited", "cancelled", "time_limit"]), 1_700_000_000.0 + dice.random(), "a detail")
    end.exit_code = dice.randrange(256)
    lines = [
        records.claim_line("6f1d5276-e278-4801-9c71-49fff27b8ca4"),
        records.run_line(dice.randrange(2, 30_000)),
        records.start_line(1_700_000_000.0),
        records.end_line(end),
    ]
    return b"".join(lines[: dice.randint(1, 4)])


def judge_record(before: bytes, after: bytes) -> str:
    """Cut at a line, a record is an earlier one of itself: a torn write, which the power-cut campaign looks at."""
    intact, found = records.parse(before), records.parse(after)
    if plain(found) == plain(intact):
        return "same"
    if found.is_damaged:
        return "told to be damaged"
    return "as it was earlier" if before.startswith(after) else "SILENT difference of a record"


def plain(record: records.Record) -> list[object]:
    return [value for name, value in vars(record).items() if name != "is_damaged"]


def measure(campaign: Campaign) -> Figures:
    corruption = Corruption(campaign.seed)
    corruption.run(campaign.given.flips)
    campaign.problems += corruption.problems
    outcomes = dict(sorted(corruption.outcomes.items()))
    return {"damages": corruption.outcomes.total(), "silent": len(corruption.problems)} | outcomes


if __name__ == "__main__":
    mine = Campaign("corruption", __doc__)
    mine.parser.add_argument("--flips", type=int, default=2000, help="how often something is damaged (default: 2000)")
    mine.main(measure)
