"""Output patterns: which file the output of one attempt goes to. Pure.

%j job id (for an element of an array 12_3)   %A job id   %a array index   %x job name   %N node   %u user   %% a %
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from hal_core.models.job import JobSpec
from hal_core.models.node import NodeName
from hal_core.models.placement import AttemptKey

_ESCAPE = re.compile(r"%(.?)", re.DOTALL)


def expand_pattern(pattern: str, values: Mapping[str, str]) -> str:
    """Replace `%x` by values["x"] and `%%` by `%`. Raises ValueError naming an unknown one."""

    def replacement(match: re.Match[str]) -> str:
        letter = match[1]
        if letter == "%":
            return "%"
        if letter not in values:
            known = " ".join(f"%{name}" for name in sorted(values))
            raise ValueError(f"unknown pattern {match[0]!r} in {pattern!r}; known are {known} and %%")
        return values[letter]

    return _ESCAPE.sub(replacement, pattern)


def pattern_values(spec: JobSpec, key: AttemptKey, node: NodeName, user: str) -> dict[str, str]:
    """What the patterns stand for in this attempt. A `/` in the job's name must not lead to another directory."""
    job_id = str(key.job_id)
    return {
        "j": f"{job_id}_{key.index}" if spec.array is not None else job_id,
        "A": job_id,
        "a": str(key.index),
        "x": spec.name.replace("/", "_"),
        "N": node,
        "u": user,
    }


def default_output_pattern(spec: JobSpec) -> str:
    """Where a job's output goes that says nothing of it, below its working directory."""
    return "hal-%A_%a.out" if spec.array is not None else "hal-%j.out"


def output_paths(spec: JobSpec, key: AttemptKey, node: NodeName, user: str) -> tuple[str, str]:
    """Absolute paths of output and error (equal if joined) of the attempt on that node."""
    values = pattern_values(spec, key, node, user)
    output = expand_pattern(spec.output_pattern or default_output_pattern(spec), values)
    error = expand_pattern(spec.error_pattern, values) if spec.error_pattern else output
    directory = spec.working_directory
    return posixpath.join(directory, output), posixpath.join(directory, error)
