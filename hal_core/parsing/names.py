"""Names and paths: which characters they may hold and how long they may be.

Nothing that is stored may hide what it is: control and invisible characters are refused everywhere.
"""

from __future__ import annotations

import re
from typing import Final

from hal_core.parsing.text import shown, wrong

NAME_CHARACTERS_MAX: Final = 256
PATH_BYTES_MAX: Final = 4095
_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_line(text: str, characters_max: int = NAME_CHARACTERS_MAX) -> str:
    """One line of printable text, perhaps empty: names of jobs, comments."""
    if len(text) > characters_max:
        raise wrong(f"{shown(text)} has {len(text)} characters; at most {characters_max} are allowed")
    if not text.isprintable():
        raise wrong(f"{shown(text)} holds control or invisible characters; use printable characters only")
    return text


def parse_name(text: str) -> str:
    """Like a line, but not empty."""
    if not text.strip():
        raise wrong("is empty; give a name")
    return parse_line(text)


def parse_identifier(text: str) -> str:
    """A name that other texts refer to: partitions, features, generic resources, users, accounts, plugins."""
    if len(text) > NAME_CHARACTERS_MAX or not _IDENTIFIER.fullmatch(text):
        raise wrong(
            f"{shown(text)} cannot be a name here; use letters, digits and _ . - + @ (at most {NAME_CHARACTERS_MAX}), "
            "beginning with a letter, a digit or _"
        )
    return text


def parse_host(text: str) -> str:
    """The name of one node."""
    if len(text) > NAME_CHARACTERS_MAX or not _HOST.fullmatch(text):
        raise wrong(f"{shown(text)} cannot be the name of a node; use letters, digits and . - _ inside, such as n001")
    return text


def parse_environment_name(text: str) -> str:
    if len(text) > NAME_CHARACTERS_MAX or not _ENVIRONMENT_NAME.fullmatch(text):
        raise wrong(f"{shown(text)} cannot be the name of an environment variable; use letters, digits and _")
    return text


def parse_path(text: str) -> str:
    """A path, absolute or relative. It is not looked at: only its owner's process may do that."""
    if not text:
        raise wrong("is empty; give a path")
    if not text.isprintable():
        raise wrong(f"{shown(text)} holds control or invisible characters and cannot be used as a path")
    if len(text.encode()) > PATH_BYTES_MAX:
        raise wrong(f"{shown(text)} is longer than a path can be ({PATH_BYTES_MAX} bytes)")
    return text


def parse_absolute_path(text: str) -> str:
    if not parse_path(text).startswith("/"):
        raise wrong(f"{shown(text)} is relative; give a path that begins with /")
    return text
