"""Splitting the command line of `submit` and `run` into options and the rest, without understanding any option.

The daemon parses options, so that all mistakes are told at once. Only which options take a value is known here, from
the generated table in option_names.py. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hal_core.cli.option_names import COMPONENT_NAMES, FLAG_NAMES, SHORT_NAMES, VALUE_NAMES
from hal_core.cli.usage import UsageError

COMPONENT = ":"
"""Behind it stand the options of further nodes of the same job, as in Slurm: what `--and` says in one word."""


class Split:
    """`own` are options of the CLI itself, `options` those of the job as [name, text], `rest` what follows them."""

    def __init__(self) -> None:
        self.own: dict[str, str] = {}
        self.options: list[list[str]] = []
        self.rest: list[str] = []
        self.is_command = False
        """Whether `--` stood before the rest."""


def split_words(words: Sequence[str], own: Mapping[str, bool], own_short: Mapping[str, str]) -> Split:
    """Options end at `--` or at the first word that is none. `own` says for each name whether it takes a value.

    An option that nobody knows is passed on without a value: the daemon refuses it by name.
    """
    found = Split()
    short = {**SHORT_NAMES, **own_short}
    rest = list(words)
    parts: list[list[str]] = []
    """What stands behind each colon."""

    def take(name: str, text: str | None, shown: str) -> None:
        needs_value = own.get(name, name in VALUE_NAMES)
        if text is None and needs_value:
            if not rest or rest[0] == "--":  # which ends the options, and is no value unless after `=`
                raise UsageError(f"{shown} needs a value")
            text = rest.pop(0)
        if parts and name in VALUE_NAMES | FLAG_NAMES and name not in COMPONENT_NAMES:
            raise UsageError(f"{shown} is for the whole job, not for some of its nodes; write it before the first `:`")
        if parts and name not in own and "=" in (text or ""):
            raise UsageError(f"{shown}: {text!r} holds an amount of another name; give each with an option of its own")
        if name not in own and parts:
            parts[-1].append(f"{name}={text or ''}")
        elif name not in own:
            found.options.append([name, text or ""])
        elif text is not None and not needs_value:
            raise UsageError(f"{shown} takes no value")
        else:
            found.own[name] = text or ""

    while rest and (rest[0] == COMPONENT or (rest[0].startswith("-") and rest[0] != "-")):
        word = rest.pop(0)
        if word == COMPONENT:
            parts.append([])
            continue
        if word == "--":
            found.is_command = True
            break
        if word.startswith("--"):
            name, equals, text = word[2:].partition("=")
            take(name, text if equals else None, f"--{name}")
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            name = short.get(letter, letter)
            has_value = own.get(name, name in VALUE_NAMES)
            if has_value or (name not in own and name not in FLAG_NAMES):
                take(name, letters.removeprefix("=") if letters else None, f"-{letter}")
                break
            take(name, None, f"-{letter}")
    found.options += [["and", ",".join(part)] for part in parts]
    found.rest = rest
    return found
