"""What is said of a file that could not be brought. Others may read it in the job's end, but not its private inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hal_core.models.dataset import PEER, DataFile, Dataset

HIDDEN: Final = "its address"
_URL: Final = re.compile(rf"\b(?!{PEER})[a-z][a-z0-9+.-]*://[^\s'\"]+")


def not_brought(dataset: Dataset, file: DataFile, problems: Mapping[str, str]) -> str:
    """`problems` says by address what went wrong there. Of a dataset without a name, the id is told, and no address."""
    told = "; ".join(f"{address}: {text}" for address, text in problems.items())
    if not dataset.address:
        return f"input {dataset.id}: {file.path} could not be brought: {told}"
    for address in sorted({dataset.address, *dataset.replicas} - {""}, key=len, reverse=True):
        if not address.startswith(PEER):
            told = told.replace(address, HIDDEN)
    return f"input {dataset.id} could not be brought: {_URL.sub(HIDDEN, told)}"
