"""Lines of a Slurm script behind `#SBATCH hetjob`: further nodes of the same job, as `--and` says it."""

from __future__ import annotations

from hal_core.errors import InvalidInput, Problem
from hal_core.parsing.script import HETJOB, ScriptLines
from hal_core.parsing.text import placed, wrong
from hal_core.parsing.values import find_option, parse_value
from hal_core.parsing.variants import AND_OPTIONS, Alternative, check_rivals


def components_of_script(lines: ScriptLines) -> tuple[Alternative, ...]:
    """One for each `hetjob`. Raises InvalidInput with every problem, each with its own line."""
    found: list[dict[str, object]] = [{} for _ in lines.heads]
    problems: list[Problem] = []
    for given in (each for each in lines.options if each.component):
        try:
            name, value = _amount(given.name, given.text)
            found[given.component - 1][name.replace("-", "_")] = value
        except InvalidInput as error:
            problems += placed(error, given.place, given.shown_name)
    filled = {each.component for each in lines.options}
    for number, place in enumerate(lines.heads, start=1):
        if number not in filled:
            problems.append(Problem(place, f"{HETJOB}: names no further nodes; write behind it #SBATCH --nodes=8"))
        try:
            check_rivals(found[number - 1])
        except InvalidInput as error:
            problems += placed(error, place, HETJOB)
    if problems:
        raise InvalidInput(problems)
    return tuple(found)


def _amount(name: str, text: str) -> tuple[str, object]:
    """(long name, value) of an option that a component may name."""
    option = find_option(name)
    if option.name not in AND_OPTIONS:
        where = f"write it before the first `#SBATCH {HETJOB}`"
        raise wrong(f"is for the whole job, not for some of its nodes; {where}")
    return option.name, parse_value(option, text)
