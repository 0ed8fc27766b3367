"""Reads when a job's owner wants mail, and where: `--mail-type=END,FAIL --mail-user=ada@example.org`, as in Slurm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hal_core.errors import did_you_mean
from hal_core.parsing.text import shown, wrong

ALL: Final = ("BEGIN", "END", "FAIL", "INVALID_DEPEND", "REQUEUE")
TYPES: Final = (*ALL, "TIME_LIMIT", "TIME_LIMIT_50", "TIME_LIMIT_80", "TIME_LIMIT_90", "ARRAY_TASKS")
ADDRESS_CHARACTERS_MAX: Final = 254
_WORD = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{1,64}}@){_WORD}(\.{_WORD})*@{_LABEL}(\.{_LABEL})*")
"""The plain form of RFC 5322, 3.4.1: no quotes, no comments, nothing that could be read as two addresses."""
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,63}")


def parse_mail_types(text: str) -> tuple[str, ...]:
    """In the order of TYPES, each once; none for `NONE`."""
    found: set[str] = set()
    for word in text.upper().split(","):
        if word == "ALL":
            found.update(ALL)
        elif word in TYPES:
            found.add(word)
        elif word == "STAGE_OUT":
            raise wrong("STAGE_OUT is not told: what a job leaves is there when it has ended; use END")
        elif word != "NONE":
            hint = did_you_mean(word[:64], TYPES)
            raise wrong(f"{shown(word)} is no occasion for a mail{hint}; there are NONE, ALL, {', '.join(TYPES)}")
    if "NONE" in text.upper().split(",") and found:
        raise wrong("NONE does not go together with others")
    return tuple(name for name in TYPES if name in found)


def parse_mail_user(text: str) -> str:
    """An address, or the name of a user, whose address the site makes of it."""
    if len(text) > ADDRESS_CHARACTERS_MAX or not (_ADDRESS.fullmatch(text) or _USER.fullmatch(text)):
        raise wrong(f"{shown(text)} is no address; write one, such as ada@example.org")
    return text


def check_mail(types: Sequence[str], user: str | None, domain: str | None) -> str:
    """Whether somebody would mail what was asked for; else InvalidInput. A warning, or nothing.

    `domain` is where the site's users have their addresses: empty if that is not known, None if nobody mails.
    """
    if not types:
        return "nobody is mailed without --mail-type=END,FAIL or the like" if user else ""
    if domain is None:
        raise wrong("this cluster mails nobody: no observer `mail` is configured; leave it out, and see `hal watch`")
    if not domain and "@" not in (user or ""):
        raise wrong("the cluster does not know the addresses of its users; give --mail-user=NAME@HOST, too")
    return ""
