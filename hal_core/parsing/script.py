"""Reads the `#HAL` and `#SBATCH` lines of a job script.

Only lines before the first command count, as in Slurm; later ones give a warning, because they look as if they did.
The script itself is not changed and not understood beyond its first line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from hal_core.errors import InvalidInput, Problem
from hal_core.parsing.options import BY_NAME
from hal_core.parsing.text import placed, shown, wrong
from hal_core.parsing.unsupported import UNSUPPORTED

SCRIPT_BYTES_MAX: Final = 4 * 2**20
LINE_CHARACTERS_MAX: Final = 65_536
_WARNINGS_MAX = 20
_OPTIONS_MAX = 1000
_DIRECTIVE = re.compile(r"#(HAL|SBATCH)(?=\s|$)(.*)")
_NEARLY = re.compile(r"\s+#(HAL|SBATCH)\s|#(HAL|SBATCH)-|#(?i:HAL|SBATCH|PBS)\s+-")
_LATER = re.compile(r"^#(HAL|SBATCH)[ \t]+-", re.MULTILINE)
_STEP = re.compile(r"^[ \t]*(?:exec[ \t]+)?srun[ \t]", re.MULTILINE)


HETJOB: Final = "hetjob"
"""`#SBATCH hetjob`: the lines that follow are for further nodes of the same job (parsing/hetjob.py)."""
NAME_CHARACTERS_MAX = 64
"""Of an option, as shown in a message."""


class ScriptOption(NamedTuple):
    """One option as written. `place` is `job.sh:3`, `shown_name` `--time` or `-t`."""

    name: str
    text: str
    place: str
    shown_name: str
    component: int = 0
    """The number of the `hetjob` that it stands behind; 0 is before the first."""


class ScriptLines(NamedTuple):
    options: tuple[ScriptOption, ...]
    warnings: tuple[Problem, ...]
    heads: tuple[str, ...] = ()
    """The place of each `hetjob`."""


def read_script(script: str, name: str) -> ScriptLines:
    """The options of a script in order. Raises InvalidInput with every problem, each with its line."""
    check_script(script, name)
    options: list[ScriptOption] = []
    problems: list[Problem] = []
    warnings: list[Problem] = []
    heads: list[str] = []
    start = 0
    for number, line, end in _lines(script):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        start, place = end, f"{name}:{number}"
        match = _DIRECTIVE.match(line)
        if match is not None:
            try:
                words = split_words(match[2])
                if _is_head(words):
                    heads.append(place)
                    continue
                options += [ScriptOption(*each[:2], place, each[2], len(heads)) for each in split_options(words)]
            except InvalidInput as error:
                problems += placed(error, place)
        elif _NEARLY.match(line):
            warnings.append(Problem(place, "is not read: write #HAL or #SBATCH at the start of the line, then a space"))
        if len(options) > _OPTIONS_MAX or len(problems) > _OPTIONS_MAX:
            raise InvalidInput([Problem(place, f"a script can have at most {_OPTIONS_MAX} options")])
    if problems:
        raise InvalidInput(problems)
    warnings = warnings[:_WARNINGS_MAX] + _later_lines(script, start, name) + _steps(script, start, name)
    return ScriptLines(tuple(options), tuple(warnings), tuple(heads))


def _is_head(words: list[str]) -> bool:
    """Whether options of further nodes follow. Raises InvalidInput for what says so in a way that HAL does not read."""
    is_head = words == [HETJOB]
    if not is_head and words[:1] in ([HETJOB], ["packjob"]):
        raise wrong(f"{shown(' '.join(words))} is not supported: {UNSUPPORTED[words[0]]}")
    return is_head


def check_script(script: str, name: str) -> None:
    """Refuse what is no script that a system could run: empty, binary, Windows lines, without `#!`."""
    problem = ""
    line = script.partition("\n")[0]
    if not script.strip():
        problem = "the script is empty"
    elif len(script) > SCRIPT_BYTES_MAX or len(script.encode(errors="surrogatepass")) > SCRIPT_BYTES_MAX:
        problem = f"the script is larger than {SCRIPT_BYTES_MAX >> 20} MiB; let it read its data from a file"
    elif "\0" in script:
        problem = "the script holds a NUL character: it seems to be a binary program; run it as a command: `-- PROGRAM`"
    elif _has_surrogates(script):
        problem = "the script is not UTF-8 text; run a binary program as a command: `-- PROGRAM`"
    elif "\r" in script:
        at = script.count("\n", 0, script.index("\r")) + 1
        problem = f"line {at} ends as on Windows (CR LF); convert the script: sed -i 's/\\r$//' {name or 'SCRIPT'}"
    elif script.startswith("\ufeff"):
        problem = "the script begins with a byte order mark; save it as UTF-8 without one"
    elif not script.startswith("#!"):
        problem = f"the first line is {shown(line)}; it must name the interpreter, such as #!/bin/sh"
    elif not line[2:].strip().startswith("/"):
        problem = f"{shown(line)} names no interpreter by its absolute path; write #!/bin/sh or #!/usr/bin/env python3"
    if problem:
        raise InvalidInput([Problem(name, problem)])


def split_words(text: str) -> list[str]:
    """Words as a shell would split them: quotes and backslashes protect, `#` at the start of a word ends the line."""
    if len(text) > LINE_CHARACTERS_MAX:
        raise wrong(f"the line is longer than {LINE_CHARACTERS_MAX} characters")
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    characters = iter(text)
    for character in characters:
        if quote:
            if character == quote:
                quote = ""
                continue
            if character == "\\" and quote == '"':
                character = _escaped(next(characters, ""), text)
        elif character.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        elif character == "#" and word is None:
            break
        elif character in "'\"":
            quote, word = character, word or []
            continue
        elif character == "\\":
            character = _escaped(next(characters, ""), text)
        word = word or []
        word.append(character)
    if quote:
        raise wrong(f"a quote {quote} is opened and not closed in {shown(text.strip())}")
    if word is not None:
        words.append("".join(word))
    return words


def _escaped(character: str, text: str) -> str:
    if not character:
        raise wrong(f"a backslash ends {shown(text.strip())}; lines cannot be continued, begin a new #HAL line")
    return character


def split_options(words: list[str]) -> Iterator[tuple[str, str, str]]:
    """(name, text, name as written) for `--opt=value`, `--opt value`, `-t10`, `-t 10` and joined flags `-Hs`."""
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if word.startswith("--") and len(word) > 2:
            name, equals, text = word[2:].partition("=")
            yield name, text if equals else _following(name, rest), as_written(f"--{name}")
        elif word.startswith("-") and not word.startswith("--") and len(word) > 1:
            yield from _split_letters(word[1:], rest)
        else:
            raise wrong(f"{shown(word)} is not an option; options begin with - or --, values with blanks need quotes")


def as_written(name: str) -> str:
    """The option's name for messages: as it is, unless it could not be printed so."""
    return name if len(name) <= NAME_CHARACTERS_MAX and name.isprintable() else shown(name)


def _split_letters(letters: str, rest: list[str]) -> Iterator[tuple[str, str, str]]:
    while letters:
        letter, letters = letters[0], letters[1:]
        option = BY_NAME.get(letter)
        if option is not None and option.takes == "flag":
            yield letter, "", f"-{letter}"
        else:
            yield letter, letters.removeprefix("=") or _following(letter, rest), as_written(f"-{letter}")
            return


def _following(name: str, rest: list[str]) -> str:
    """The next word as the value of an option that takes one. An unknown option is refused later, by name."""
    option = BY_NAME.get(name)
    if option is None:
        return rest.pop() if rest and not rest[-1].startswith("-") else ""
    if option.takes != "value":
        return ""
    if not rest:
        raise wrong(f"--{option.name} needs a value: {option.help}")
    return rest.pop()


def _lines(script: str) -> Iterator[tuple[int, str, int]]:
    """(number, line, offset behind it), without splitting all of a large script."""
    start, number = 0, 1
    while start < len(script):
        end = script.find("\n", start)
        end = len(script) if end < 0 else end
        yield number, script[start:end], end + 1
        start, number = end + 1, number + 1


def _later_lines(script: str, start: int, name: str) -> list[Problem]:
    """Warnings for directives behind the first command."""
    warnings = []
    for match in _LATER.finditer(script, start):
        line = script.count("\n", 0, match.start()) + 1
        warnings.append(Problem(f"{name}:{line}", f"#{match[1]} line after the first command is ignored, as in Slurm"))
        if len(warnings) == _WARNINGS_MAX:
            break
    return warnings


def _steps(script: str, start: int, name: str) -> list[Problem]:
    """A warning for the first `srun`: where HAL runs the job itself, Slurm knows nothing of it."""
    match = _STEP.search(script, start)
    if match is None:
        return []
    line = script.count("\n", 0, match.end()) + 1
    text = "srun works in Slurm alone; where HAL runs the job, --spread=task runs the script once for each task"
    return [Problem(f"{name}:{line}", text)]


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def check_program_name(name: str) -> None:
    """The first word of a command. A file may have spaces in its name, a program that PATH finds has none."""
    if not name:
        raise InvalidInput([Problem("command", "the program is empty; name a program")])
    if "/" not in name and len(name.split()) > 1:
        text = f"{shown(name)} is one word, and no program has that name; leave out the quotes, or use --wrap"
        raise InvalidInput([Problem("command", text)])
