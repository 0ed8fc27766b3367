"""The files of a plugin, before any of them is run: whether somebody may change them who cannot change HAL, and their
digest, by which a site says which files it means."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

_HAL = Path(__file__).parent
_CACHES = frozenset(("__pycache__",))


def why_untrusted(entry_point: EntryPoint) -> str:
    """Who may change its files without being able to change HAL itself; empty: nobody. Nothing is imported."""
    owners, groups = _who_may_change_hal()
    roots = _roots(entry_point)
    for path in (*(root.parent for root in roots), *(file for root in roots for file in _walk(root, with_caches=True))):
        found = os.stat(path)
        mode = found.st_mode
        if mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            return f"every user may change {path}; run: chmod o-w {path}"
        if mode & stat.S_IWGRP and found.st_gid not in groups:
            return f"the group {found.st_gid} may change {path}; run: chmod g-w {path}"
        if found.st_uid not in owners:
            return f"{path} belongs to uid {found.st_uid}, who owns nothing else of HAL; let root own it"
    return ""


def digest_of(entry_point: EntryPoint) -> str:
    """SHA-256, in hexadecimal, of the names and contents of all files of its package; caches are left out."""
    whole = hashlib.sha256()
    for root in _roots(entry_point):
        for path in _walk(root, with_caches=False):
            if path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                whole.update(f"{path.relative_to(root.parent)}\0{content}\n".encode())
    return whole.hexdigest()


def _who_may_change_hal() -> tuple[set[int], set[int]]:
    """Users and groups: root, we ourselves, and those to whom HAL's own files belong."""
    found = os.stat(_HAL)
    return {0, os.geteuid(), found.st_uid}, {0, *({found.st_gid} if found.st_mode & stat.S_IWGRP else ())}


def _roots(entry_point: EntryPoint) -> list[Path]:
    """The package's directories, or the module's file. Empty if it is not to be found: importing it will say so."""
    try:
        spec = find_spec(entry_point.module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    places = spec.submodule_search_locations or ([spec.origin] if spec.origin else [])
    return [Path(place) for place in places if os.path.exists(place)]


def _walk(root: Path, *, with_caches: bool) -> Iterator[Path]:
    """The root and everything below, in a fixed order."""
    yield root
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if with_caches or name not in _CACHES)
        for name in sorted((*names, *files)):
            yield Path(directory, name)
