"""Routes about datasets: list, show, add, pin, unpin, evict, remove.

`{name}` is `name`, which means its newest version, or `name@version`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Annotated

import attrs
from msgspec import Meta

from hal_core.errors import InvalidInput, NotFound, Problem
from hal_core.models.dataset import DataFile, Dataset
from hal_core.models.job import Owner
from hal_core.models.message import AddDataset, EvictCopies, PinDataset, RemoveDataset
from hal_core.models.node import NodeName
from hal_core.parsing.datasets import parse_dataset_word, parse_digest, parse_file_path, parse_replica, problems_of
from hal_core.parsing.durations import parse_interval
from hal_core.parsing.names import parse_line
from hal_core.rest.answers import Answer, json_answer
from hal_core.rest.bodies import EmptyRequest
from hal_core.rest.call import Call, Handler, Route
from hal_core.rest.query import LIMIT, integer
from hal_core.rest.rights import Caller, Verb

FILES_MAX = 10_000
SIZE_BYTES_MAX = 2**60
Text = Annotated[str, Meta(max_length=4096)]


@attrs.frozen(kw_only=True)
class FileRequest:
    path: Text
    """Relative, within the dataset."""
    size_bytes: Annotated[int, Meta(ge=0, le=SIZE_BYTES_MAX)]
    sha256: Text


@attrs.frozen(kw_only=True)
class DatasetRequest:
    """A version of a dataset. All users of the cluster will be able to read it."""

    name: Text
    version: Text = "1"
    files: Annotated[tuple[FileRequest, ...], Meta(max_length=FILES_MAX)]
    replicas: Annotated[tuple[Text, ...], Meta(max_length=100)]
    """Directories that all nodes see and the caller can read, or URLs, below which the files are."""
    is_pinned: bool = False
    retention: Text | None = None
    """`30d`: so long after now it is taken out of the catalogue. None: never."""
    comment: Text = ""


@attrs.frozen(kw_only=True)
class DatasetView:
    id: str
    name: str
    version: str
    owner: str
    """Empty if it stands in the configuration."""
    file_count: int
    size_bytes: int
    replicas: tuple[str, ...]
    is_pinned: bool
    add_time_s: float
    retention_s: float | None
    comment: str


@attrs.frozen
class DatasetDetails:
    dataset: DatasetView
    files: tuple[DataFile, ...]
    nodes: tuple[NodeName, ...]
    """Those that have a copy in their stores."""


@attrs.frozen(kw_only=True)
class EvictRequest:
    nodes: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=100_000)] = ()
    """None named: all that have a copy."""


@attrs.frozen
class EvictedAnswer:
    """How many nodes were told. One on which a job needs it keeps it."""

    id: str
    node_count: int


@attrs.frozen
class DatasetsPage:
    datasets: list[DatasetView]
    next_cursor: str | None
    sequence: int


@attrs.frozen
class DatasetRemovedAnswer:
    id: str


def view(found: Dataset) -> DatasetView:
    return DatasetView(
        id=found.id,
        name=found.name,
        version=found.version,
        owner=found.owner,
        file_count=len(found.files),
        size_bytes=found.size_bytes,
        replicas=found.replicas,
        is_pinned=found.is_pinned,
        add_time_s=found.add_time_s,
        retention_s=found.retention_s,
        comment=found.comment,
    )


def dataset_of(body: DatasetRequest, caller: Caller) -> Dataset:
    """What the request means. Raises InvalidInput with every problem."""
    problems: list[Problem] = []

    def check(place: str, parse: Callable[[str], object], text: str) -> None:
        try:
            parse(text)
        except InvalidInput as error:
            problems.extend(Problem(each.place or place, each.text) for each in error.problems)

    check("name", parse_dataset_word, body.name)
    check("version", parse_dataset_word, body.version)
    check("comment", parse_line, body.comment)
    for at, file in enumerate(body.files):
        check(f"files[{at}].path", parse_file_path, file.path)
        check(f"files[{at}].sha256", parse_digest, file.sha256)
    for at, replica in enumerate(body.replicas):
        check(f"replicas[{at}]", parse_replica, replica)
    if body.retention is not None:
        check("retention", lambda text: parse_interval(text, least_s=1), body.retention)
    problems += [Problem("files", text) for text in problems_of([file.path for file in body.files], body.replicas)]
    if problems:
        raise InvalidInput(problems)
    return Dataset(
        body.name,
        body.version,
        tuple(DataFile(file.path, file.size_bytes, file.sha256) for file in body.files),
        body.replicas,
        caller.user,
        caller.uid,
        caller.gid,
        is_pinned=body.is_pinned,
        retention_s=None if body.retention is None else parse_interval(body.retention),
        comment=body.comment,
    )


def _find(call: Call) -> Dataset:
    call.caller.insist(Verb.SEE_DATA)
    found = call.context.kernel.state.catalogue.demand(call.path["name"][:300])
    if found.address:  # which files jobs read is not for others
        raise NotFound(f"there is no dataset {found.name!r}; see `hal data ls`")
    return found


def _find_own(call: Call) -> Dataset:
    """One that the caller may change."""
    found = _find(call)
    call.caller.insist(Verb.CONTROL_DATA, Owner(found.owner, -1 if found.uid is None else found.uid, -1))
    return found


async def list_datasets(call: Call) -> Answer:
    call.caller.insist(Verb.SEE_DATA)
    state = call.context.kernel.state
    start, most = call.query["cursor"], call.query["limit"]
    found = list(itertools.islice(state.catalogue.named, start, start + most))
    more = str(start + most) if start + most < state.catalogue.named_count else None
    return json_answer(DatasetsPage([view(each) for each in found], more, state.sequence))


async def show_dataset(call: Call) -> Answer:
    found = _find(call)
    nodes = tuple(sorted(call.context.kernel.state.catalogue.copies.get(found.id, ())))
    return json_answer(DatasetDetails(view(found), found.files, nodes))


async def add_dataset(call: Call) -> Answer:
    call.caller.insist(Verb.ADD_DATA)
    wanted = dataset_of(call.body, call.caller)
    await call.context.kernel.ask(AddDataset(wanted))
    return json_answer(view(call.context.kernel.state.catalogue.by_id.get(wanted.id, wanted)), status=201)


async def _pin(call: Call, is_pinned: bool) -> Answer:
    found = _find_own(call)
    await call.context.kernel.ask(PinDataset(found.id, is_pinned, call.caller.user))
    return json_answer(view(call.context.kernel.state.catalogue.demand(found.id)))


async def pin_dataset(call: Call) -> Answer:
    return await _pin(call, True)


async def unpin_dataset(call: Call) -> Answer:
    return await _pin(call, False)


async def evict_dataset(call: Call) -> Answer:
    found = _find_own(call)
    body: EvictRequest = call.body
    nodes = tuple(NodeName(each) for each in body.nodes)
    count = await call.context.kernel.ask(EvictCopies(found.id, nodes, call.caller.user))
    assert isinstance(count, int)
    return json_answer(EvictedAnswer(found.id, count))


async def remove_dataset(call: Call) -> Answer:
    found = _find_own(call)
    await call.context.kernel.ask(RemoveDataset(found.id, call.caller.user))
    return json_answer(DatasetRemovedAnswer(found.id))


def _change(
    path: str, handler: Handler, summary: str, answer: type[object], body: type[object] = EmptyRequest
) -> Route:
    return Route(
        method="POST",
        path=f"/v1/datasets/{{name}}/{path}",
        handler=handler,
        summary=summary,
        body=body,
        answer=answer,
        reads_state=False,
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/datasets",
        handler=list_datasets,
        summary="The datasets of the catalogue",
        answer=DatasetsPage,
        query=(LIMIT, integer("cursor", "`next_cursor` of the page before", 0, 2**31, 0)),
    ),
    Route(
        method="POST",
        path="/v1/datasets",
        handler=add_dataset,
        summary="Put a version of a dataset into the catalogue",
        body=DatasetRequest,
        answer=DatasetView,
        statuses=(201,),
        reads_state=False,
    ),
    Route(
        method="GET",
        path="/v1/datasets/{name}",
        handler=show_dataset,
        summary="One dataset, with its files",
        answer=DatasetDetails,
    ),
    _change("pin", pin_dataset, "Keep its copies on nodes", DatasetView),
    _change("unpin", unpin_dataset, "Let its copies on nodes go when others want the room", DatasetView),
    _change("evict", evict_dataset, "Drop its copies on nodes", EvictedAnswer, EvictRequest),
    _change("remove", remove_dataset, "Take a dataset out of the catalogue", DatasetRemovedAnswer),
)
