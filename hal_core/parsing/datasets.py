"""What people may write of a dataset: names, versions, paths of files, digests, where replicas are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hal_core.models.dataset import PEER, REFERENCE
from hal_core.parsing.names import parse_path
from hal_core.parsing.text import shown, wrong

WORD_CHARACTERS_MAX: Final = 128
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]*(/[^?#\s]*)?")


def parse_dataset_word(text: str) -> str:
    """A name, or a version. Both become parts of paths and of `name@version`."""
    if len(text) > WORD_CHARACTERS_MAX or not _WORD.fullmatch(text):
        raise wrong(
            f"{shown(text)} cannot be the name or version of a dataset; use letters, digits and _ . - + "
            f"(at most {WORD_CHARACTERS_MAX}), beginning with a letter, a digit or _"
        )
    return text


def parse_dataset(text: str) -> str:
    """`name`, which means its newest version, or `name@version`."""
    name, at, version = text.partition("@")
    parse_dataset_word(name)
    if at:
        parse_dataset_word(version)
    return text


def parse_reference(text: str) -> str:
    """`dataset:name` or `dataset:name@version`."""
    parse_dataset(text.removeprefix(REFERENCE))
    return text


def parse_output(text: str) -> str:
    """`name=path` or `name@version=path`: what a job leaves."""
    dataset, equals, path = text.partition("=")
    if not equals:
        raise wrong(f"{shown(text)} does not say where the files are; write it like result=out/")
    parse_dataset(dataset)
    parse_path(path)
    return text


def parse_file_path(text: str) -> str:
    """The path of a file within its dataset: it cannot lead out of it."""
    parse_path(text)
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise wrong(f"{shown(text)} is not the path of a file within a dataset; write it like reads/1.fastq")
    return text


def parse_digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise wrong(f"{shown(text)} is not a SHA-256 digest; give 64 digits of 0-9 and a-f, as sha256sum prints them")
    return text


def parse_replica(text: str) -> str:
    """A directory that all nodes see, or a URL that a locality provider reads."""
    parse_path(text)
    if text.startswith(PEER) or (not text.startswith("/") and not _URL.fullmatch(text)):
        raise wrong(
            f"{shown(text)} is neither an absolute path nor a URL; give the directory that holds the files, "
            "such as /data/genome or https://host/genome"
        )
    return text


def problems_of(paths: Sequence[str], replicas: Sequence[str]) -> list[str]:
    """Why files with these paths, at these replicas, are no dataset."""
    problems = []
    if not paths:
        problems.append("a dataset has at least one file")
    if not replicas:
        problems.append("give at least one replica: a directory or URL below which the files are")
    known = set(paths)
    if len(known) < len(paths):
        twice = next(path for at, path in enumerate(paths) if path in paths[:at])
        problems.append(f"file {twice!r} is named twice")
    for path in paths:
        parts = path.split("/")
        above = next((each for end in range(1, len(parts)) if (each := "/".join(parts[:end])) in known), None)
        if above is not None:
            problems.append(f"{above!r} is a file, and the directory of {path!r}")
            break
    return problems
