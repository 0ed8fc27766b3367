"""The trace of a job: ids that follow from the job, so that daemon, nodes and a restarted daemon agree without asking.

One job is one trace (W3C Trace Context). If its submitter's environment had a TRACEPARENT, it goes on with that trace;
otherwise it begins one. The ids are hashes of what is in the journal: nothing is kept, and nothing is drawn by chance.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

VARIABLE: Final = "TRACEPARENT"
ENDPOINT_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Where spans are sent, as OpenTelemetry has it; without one of them nobody listens."""
_PARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


class Trace(NamedTuple):
    """Ids of a job's trace: 128 bits; 64 bits of the job's own span, and of the span it continues (0: none)."""

    trace_id: int
    span_id: int
    parent_span_id: int


def trace_of(cluster: str, job_id: int, submit_time_s: float, environment: Iterable[str]) -> Trace:
    """The job's trace. `environment` is the submitter's, as `NAME=value`."""
    seed = f"{cluster}\0{job_id}\0{submit_time_s!r}"
    given = next((text for text in environment if text.startswith(f"{VARIABLE}=")), "")
    found = _PARENT.fullmatch(given.removeprefix(f"{VARIABLE}="))
    trace_id = int(found.group(1), 16) if found else _hash(seed, 16)
    return Trace(trace_id, span_id_of(trace_id, "job", seed), int(found.group(2), 16) if found else 0)


def span_id_of(trace_id: int, *words: object) -> int:
    """The id of a further span, by what it is of."""
    return _hash("\0".join(map(str, (trace_id, *words))), 8)


def run_span_id(trace_id: int, job_id: int, index: int, attempt: int) -> int:
    """Of the span in which an attempt runs: the parent of whatever its processes trace."""
    return span_id_of(trace_id, "run", job_id, index, attempt)


def launch_span_id(trace_id: int, job_id: int, index: int, attempt: int) -> int:
    """Of the span from the placement of an attempt to its first process."""
    return span_id_of(trace_id, "launch", job_id, index, attempt)


def context_text(trace_id: int, span_id: int) -> str:
    """As TRACEPARENT has it."""
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def does_anybody_listen(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name) for name in ENDPOINT_VARIABLES)


def _hash(text: str, size: int) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
    return int.from_bytes(digest, "big") or 1
