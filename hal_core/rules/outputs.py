"""What jobs leave as datasets: whether what a node says of it goes into the catalogue. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hal_core.models.dataset import Dataset, MadeDataset, output_of
from hal_core.models.event import DatasetAdded, Event
from hal_core.models.message import OutputsMade
from hal_core.models.placement import AttemptKey
from hal_core.rules.catalogue import clash

if TYPE_CHECKING:
    from hal_core.rules.job_record import JobRecord
    from hal_core.rules.state import State


def outputs_made(state: State, message: OutputsMade, now_s: float) -> list[Event]:
    """Only outputs that the job named, and nothing that is there already. What clashes with it is left out."""
    record = state.find(message.key.job_id)
    if record is None:
        return []
    named = {(each.name, each.version) for each in map(output_of, record.spec.outputs)}
    events: list[Event] = []
    for made in message.datasets:
        if (made.name, made.version) in named:
            dataset = _dataset(record, message.key, made, now_s)
            if dataset.id not in state.catalogue.by_id and clash(state, dataset) is None:
                events.append(DatasetAdded(now_s, dataset))
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
