"""A ticket: one submission to Slurm and what is known of it. An array, or the part of it that was launched together,
is one ticket."""

from __future__ import annotations

import attrs

from hal_core import AttemptKey, End, JobId, NodeName, PartStatus, Ranges, runs_of
from hal_plugin_slurm.way import Submission


@attrs.frozen
class Over:
    """How and when something ended, and when that was seen."""

    end: End
    end_time_s: float
    seen_time_s: float


@attrs.define
class Element:
    """One attempt of one element: its own part on each of `nodes`, which are HAL's."""

    nodes: tuple[NodeName, ...]
    start_time_s: float | None = None
    end_time_s: float | None = None
    end: End | None = None
    over: Over | None = None
    """It has ended, and accounting is asked what it used: nobody has been told."""
    is_cancel_wanted: bool = False
    missed_since_s: float | None = None
    """Since when Slurm does not list it any more, though no end of it is known."""
    forgotten: set[NodeName] = attrs.Factory(set)


@attrs.define
class Ticket:
    """`native_id` is Slurm's id of the job or array. While it is None, `doubt_time_s` says when the last submission
    lost its answer (None: there is nothing in Slurm for certain)."""

    name: str
    job_id: JobId
    attempt: int
    is_array: bool
    elements: dict[int, Element]
    intent_time_s: float
    native_id: int | None = None
    doubt_time_s: float | None = None
    submission: Submission | None = None
    """None after a restart: the kernel orders again what it does not know to run."""
    known_time_s: float = 0.0
    """When Slurm told its id; answers to questions from before that do not count."""
    is_asked: bool = False
    """A submission is on its way."""

    def key(self, index: int) -> AttemptKey:
        return AttemptKey(self.job_id, index, self.attempt)

    def status(self, index: int) -> PartStatus:
        element = self.elements[index]
        return PartStatus(self.key(index), element.start_time_s, element.end_time_s, element.end)

    @property
    def open(self) -> dict[int, Element]:
        """Elements whose end is not known."""
        return {index: each for index, each in self.elements.items() if each.end is None and each.over is None}

    @property
    def over(self) -> dict[int, Over]:
        """Ends that are kept back."""
        return {index: each.over for index, each in self.elements.items() if each.over is not None}

    @property
    def to_cancel(self) -> Ranges:
        return runs_of(sorted(index for index, element in self.open.items() if element.is_cancel_wanted))

    @property
    def is_forgotten(self) -> bool:
        return all(set(element.nodes) <= element.forgotten for element in self.elements.values())
