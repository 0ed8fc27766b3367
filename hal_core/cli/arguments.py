"""Reading command lines: argparse with HAL's kind of errors, and the notation of job ids.

argparse because it costs 4 ms at start where click costs 35, and one way of reading options for all commands reads
best.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from hal_core.cli.usage import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

JOB_HELP = "a job (17), an array element (17_3) or several (17_[1-5,9])"


MISSING = "the following arguments are required: "


class Parser(argparse.ArgumentParser):
    """`command` is the name the user typed, for modules that serve several commands."""

    def __init__(self, command: str, summary: str, usage: str | None = None) -> None:
        self.command = command
        super().__init__(prog=f"hal {command}", usage=usage, description=summary, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self._with_choices(message)}; see `{self.prog} --help`")

    def _with_choices(self, message: str) -> str:
        """Of what is missing only that which is needed, and what an action can be: argparse names both by name only."""
        missing = message.removeprefix(MISSING)
        if missing == message:
            return message
        names, needed = missing.split(", "), []
        for action in self._actions:
            if action.metavar in names and action.nargs not in ("*", "?"):
                said = ", ".join(action.choices) if action.choices else action.help
                needed.append(f"{action.metavar} ({said})" if action.metavar == "ACTION" else str(action.metavar))
        return MISSING + (", ".join(needed) or missing)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Options and arguments in any order. Raises UsageError."""
        known, unknown = self.parse_known_intermixed_args(list(words))
        if unknown:
            self.error(f"{self.command} does not know {unknown[0]!r}{self._nearest(unknown[0])}")
        return known

    def _nearest(self, given: str) -> str:
        if not given.startswith("--"):
            return ""
        from hal_core.errors import did_you_mean

        return did_you_mean(given.partition("=")[0], [name for name in self.option_names() if name.startswith("--")])

    def option_names(self) -> list[str]:
        """Every `-x` and `--xyz`, for completion."""
        return [name for action in self._actions for name in action.option_strings]

    def entries(self) -> list[tuple[str, str]]:
        """Every argument and option as it is written, and what it means; for the manual."""
        found = []
        for action in self._actions:
            value = f" {action.metavar or action.dest.upper()}" if action.nargs != 0 else ""
            head = ", ".join(action.option_strings) + value
            found.append((head.strip(), action.help or ""))
        return found

    def add_json(self) -> None:
        self.add_argument("--json", action="store_true", help="print the daemon's answer as it came (docs: REST API)")

    def add_jobs(self, nargs: str = "+") -> None:
        self.add_argument("jobs", nargs=nargs, metavar="JOB", type=checked(selector), help=JOB_HELP)

    def add_filters(self) -> None:
        """What `queue` and `history` have in common."""
        self.add_argument("-u", "--user", metavar="USER", help="only jobs of these users (comma-separated)")
        self.add_argument("--me", action="store_true", help="only my own jobs")
        self.add_argument("-t", "--state", metavar="STATE", type=str.upper, help="only these states (comma-separated)")
        self.add_argument("-p", "--partition", metavar="PARTITION", help="only these partitions (comma-separated)")
        self.add_argument("-n", "--name", metavar="NAME", help="only jobs of these names (comma-separated)")
        self.add_argument(
            "--limit", metavar="N", type=checked(count), default=100, help="at most N jobs (default: 100)"
        )
        self.add_argument("--all", action="store_true", help="all jobs, however many")


def signed(text: str) -> int:
    """A whole number that may be negative. Raises ValueError."""
    return whole_number(text, sign=True)


def checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse hides the text of a ValueError; this shows it."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def whole_number(text: str, sign: bool = False) -> int:
    """ASCII digits only: `1_0`, `1e3` and other scripts' digits are not numbers here. Raises ValueError."""
    digits = text.removeprefix("-") if sign else text
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise ValueError(f"{text!r} is not a whole number{'' if sign else ' from 0 on'}")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1."""
    if (number := whole_number(text, sign=True)) < 1:
        raise ValueError(f"{number} is too few; give 1 or more")
    return number


def selector(text: str) -> tuple[int, str | None]:
    """(job id, indices as ranges text or None for the whole job) of `17`, `17_3` or `17_[1-5,9]`. Raises ValueError."""
    job, underscore, rest = text.partition("_")
    indices = rest[1:-1] if rest.startswith("[") and rest.endswith("]") else rest
    try:
        numbers = [whole_number(job)]
        if underscore:
            bounds = [part.split("-") if rest != indices else [part] for part in indices.split(",")]
            numbers += [whole_number(bound) for pair in bounds for bound in pair]
            if any(len(pair) > 2 or int(pair[0]) > int(pair[-1]) for pair in bounds):
                raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not a job; write 17, 17_3 or 17_[1-5,9]") from None
    return numbers[0], indices if underscore else None


def one_index(selected: tuple[int, str | None], command: str) -> tuple[int, int | None]:
    """For commands that show one element. Raises UsageError for several."""
    job_id, indices = selected
    if indices is None:
        return job_id, None
    if not indices.isdecimal():
        raise UsageError(f"{command} shows one element at a time; write for example {job_id}_{indices.split('-')[0]}")
    return job_id, int(indices)
