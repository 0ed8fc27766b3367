"""Which files a job's outputs go to, as far as that is known.

Pure; `models/patterns.py` says it for one attempt on one node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord


def output_path(record: JobRecord, pattern: str, index: int | None = None) -> str:
    """The absolute path of an output, expanded as far as known. Without an index, `%a` of an array stays.

    `%N` is the first node and stays until the element has one.
    """
    known = {"%": "%"}
    index = 0 if index is None and not record.is_array else index
    if index is not None:
        known["a"] = str(index)
        node = _first_node(record, index)
        if node:
            known["N"] = node
    return _expand(absolute_pattern(record, pattern), known)


def absolute_pattern(record: JobRecord, pattern: str) -> str:
    """The pattern with all in it that every element has in common; empty if there is none.

    It names the files that models/patterns.py names for the nodes. An unknown letter of an old journal stays.
    """
    if not pattern:
        return ""
    spec, job_id = record.spec, str(record.job_id)
    texts = {"A": job_id, "x": spec.name.replace("/", "_"), "u": record.owner.user}
    known = {letter: text.replace("%", "%%") for letter, text in texts.items()}
    known |= {"%": "%%", "j": f"{job_id}_%a", "a": "%a"} if record.is_array else {"%": "%%", "j": job_id, "a": "0"}
    expanded = _expand(pattern, known)
    directory = spec.working_directory.rstrip("/").replace("%", "%%")
    return expanded if expanded.startswith("/") else f"{directory}/{expanded}"


def _expand(pattern: str, known: dict[str, str]) -> str:
    parts, at = [], 0
    while (percent := pattern.find("%", at)) >= 0 and percent + 1 < len(pattern):
        letter = pattern[percent + 1]
        parts += [pattern[at:percent], known.get(letter, "%" + letter)]
        at = percent + 2
    return "".join([*parts, pattern[at:]])


def _first_node(record: JobRecord, index: int) -> str:
    activity = record.active.get(index)
    if activity is not None:
        return activity.shares[0].node
    ended = record.ends.get(index)
    return ended.node_names[0] if ended is not None and ended.node_names else ""
