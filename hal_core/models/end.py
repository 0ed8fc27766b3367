"""Ends: the states of a job's life, and how it, or one node's part of it, ended."""

from __future__ import annotations

from enum import Enum

import attrs


class JobState(Enum):
    """A state for each phase that may take long (Flux RFC 21); the reason says why within it."""

    PENDING = "PENDING"
    STAGING = "STAGING"
    """An allocation is held; inputs are staged and the launch is ordered."""
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    """Its processes stand still while another job has its CPUs."""
    CLEANUP = "CLEANUP"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"


ACTIVE = frozenset({JobState.STAGING, JobState.RUNNING, JobState.SUSPENDED, JobState.CLEANUP})
FINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.TIMEOUT})


class EndKind(Enum):
    """The one typed reason for every end."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    NODE_LOST = "node_lost"
    CANCELLED = "cancelled"
    LAUNCH_FAILED = "launch_failed"
    PROLOG_FAILED = "prolog_failed"
    """The site's prolog did, so the job's own processes were not started on that node."""
    SUPERVISOR_LOST = "supervisor_lost"
    STAGING_FAILED = "staging_failed"
    DEPENDENCY_NEVER_SATISFIED = "dependency_never_satisfied"
    GANG_FAILED = "gang_failed"
    """Another part of the same gang failed, so this part was ended."""


def _sum(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other


@attrs.frozen
class End:
    """How a job (or one node's part of it) ended."""

    kind: EndKind
    exit_code: int | None = None
    signal: int | None = None
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    by: str = ""
    """Who cancelled it."""
    detail: str = ""
    gpus_busy: float | None = None
    """Of its GPUs, how many computed, on average, as far as the nodes could tell."""
    energy_j: float | None = None
    """Joules, of its GPUs, likewise."""
    cpu_energy_j: float | None = None
    """Joules, its share of what processors and memory drew, likewise."""

    def after(self, before: End | None) -> End:
        """The end of an attempt of which other parts ended so before: the first bad one, with what all of them used."""
        if before is None:
            return self
        return attrs.evolve(
            self if before.state is JobState.COMPLETED else before,
            peak_memory_bytes=max(filter(None, (self.peak_memory_bytes, before.peak_memory_bytes)), default=None),
            cpu_s=_sum(self.cpu_s, before.cpu_s),
            gpus_busy=_sum(self.gpus_busy, before.gpus_busy),
            energy_j=_sum(self.energy_j, before.energy_j),
            cpu_energy_j=_sum(self.cpu_energy_j, before.cpu_energy_j),
        )

    @property
    def state(self) -> JobState:
        """The final job state that this end means."""
        match self.kind:
            case EndKind.EXITED:
                return JobState.COMPLETED if self.exit_code == 0 else JobState.FAILED
            case EndKind.TIME_LIMIT:
                return JobState.TIMEOUT
            case EndKind.CANCELLED | EndKind.DEPENDENCY_NEVER_SATISFIED:
                return JobState.CANCELLED
            case _:
                return JobState.FAILED
