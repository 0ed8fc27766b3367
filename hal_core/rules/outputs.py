"""What jobs leave as datasets: whether what a node says of it goes into the catalogue. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hal_core.models.dataset import Dataset, MadeDataset, output_of
from hal_core.models.event import DatasetAdded, Event, OutputRefused
from hal_core.models.message import OutputsMade
from hal_core.models.placement import AttemptKey
from hal_core.rules.catalogue import clash

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State


def outputs_made(state: State, message: OutputsMade, now_s: float) -> list[Event]:
    """Only outputs that the job named, and nothing that is there already. What clashes with what is there is not taken
    in, and its owner is told, once: after the end of the attempt nodes only repeat themselves."""
    record = state.find(message.key.job_id)
    if record is None:
        return []
    named = {(each.name, each.version) for each in map(output_of, record.spec.outputs)}
    events: list[Event] = []
    for made in message.datasets:
        if (made.name, made.version) in named:
            dataset = _dataset(record, message.key, made, now_s)
            known = state.catalogue.by_id.get(dataset.id)
            if known is not None and (known.files, known.owner) == (dataset.files, dataset.owner):
                continue
            wrong = clash(state, dataset)
            if wrong is None:
                events.append(DatasetAdded(now_s, dataset))
            elif state.activity(message.key) is not None:
                events.append(OutputRefused(now_s, message.key, dataset.id, str(wrong)))
    return events


def _dataset(record: JobRecord, key: AttemptKey, made: MadeDataset, now_s: float) -> Dataset:
    owner = record.owner
    number = f"{key.job_id}.{key.index}" if record.is_array else str(key.job_id)
    return Dataset(
        made.name,
        made.version or f"job{number}",
        made.files,
        (made.place,),
        owner.user,
        owner.uid,
        owner.gid,
        add_time_s=now_s,
        comment=f"left by job {number}",
    )
