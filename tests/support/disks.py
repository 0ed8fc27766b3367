"""Real file systems of a size that a test can fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import need


@contextmanager
def small_disk(directory: Path, byte_count: int) -> Iterator[Path]:
    """A new directory that holds no more than that."""
    need("" if os.geteuid() == 0 else "needs root: mounts a small tmpfs to fill it up")
    directory.mkdir()
    options = f"size={byte_count},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)
