"""The contract of locality providers, as a check to run against any of them.

What a job reads is at the path of a replica; so the check reads there too, wherever this machine can. A provider whose
data lies on shared file systems refuses to evict: then nothing is copied, and what is said of copies does not apply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from hal_core.errors import HalError, Refused, UserError
from hal_core.models.dataset import Measured
from hal_core.models.node import NodeName
from hal_core.planes import DataSource, LocalityProvider, Measuring, Replica
from hal_core.testing.breaking_off import ends_within, growing_steps, one_error
from hal_core.testing.check_data_source import check_data_source, check_data_source_broken_off

PATIENCE_S: Final = 60.0
"""How long one part of the check may take. Only a broken implementation takes so long."""

NOBODYS: Final = ("", " ", "\0", "no-such-scheme:whatever", "no-such-scheme://host/path", "://", "\ud800", "x" * 10_000)
"""What a user may write and no provider knows. Every provider is asked about every input."""

NODE: Final = NodeName("n1")

Make = Callable[[], LocalityProvider]


@attrs.frozen
class LocalityTrial:
    """What a provider is tried with. `present` exists; `absent` and `damaged` are recognised, but there is no `absent`,
    and what comes of one that is `damaged` is short, or not what its digest says. `content` is that of `present`; a
    `DataSource` is tried as such only with it."""

    present: str
    absent: str
    node: NodeName = NODE
    damaged: Sequence[str] = ()
    content: bytes | None = None


async def check_locality(make: Make, trial: LocalityTrial) -> None:
    """Each `make()` must be another provider of the same data, as after a restart of the daemon (it may be the same
    object if the data lives in it). `present` may be on the node already; it is left there."""
    for part in (_check_names, _check_locate, _check_stage, _check_absent, _check_damaged, _check_copies):
        with trio.fail_after(PATIENCE_S):
            await part(make, trial)
    if isinstance(measuring := make(), Measuring):
        with trio.fail_after(PATIENCE_S):
            await _check_measured(measuring, trial)
    if isinstance(source := make(), DataSource) and trial.content is not None:
        await check_data_source(source, trial.present, trial.content, trial.absent, trial.damaged)


async def check_locality_broken_off(make: Make, trial: LocalityTrial) -> None:
    """A transfer that was broken off, wherever, leaves nothing that passes for the dataset, and can be done again."""
    provider = make()
    if isinstance(provider, DataSource) and trial.content is not None:
        await check_data_source_broken_off(provider, trial.present, trial.content)
    with trio.fail_after(PATIENCE_S):
        path, content = await _first_copy(provider, trial)
        if not await _evicts(provider, trial.present, trial.node):
            return
    look = partial(_check_whole, path, content)
    for steps in growing_steps():
        with trio.fail_after(PATIENCE_S):
            is_done = await ends_within(steps, partial(provider.stage, trial.present, [trial.node]), look)
            look(f"broken off after {steps} steps")
            (found,) = await provider.locate([trial.present])
            assert len({replica.size_bytes for replica in found}) == 1, "half a transfer passes for the dataset"
            if is_done:
                break
            if steps % 2:  # The daemon, too, may end in the middle of a transfer.
                provider = make()
    with trio.fail_after(PATIENCE_S):
        await provider.evict(trial.present, trial.node)
        await provider.stage(trial.present, [trial.node])
        assert _on(trial.node, (await provider.locate([trial.present]))[0]), "broken off once, it is never there again"
        assert _read(path) == content, "what was broken off and done again is not what was there before"


async def _check_measured(provider: Measuring, trial: LocalityTrial) -> None:
    """What is said of a file before it is read is true of it, and what is not there has no size."""
    present, absent = await provider.measure([trial.present, trial.absent])
    assert not isinstance(absent, Measured), "a file that is not there was measured"
    assert not isinstance(present, HalError), f"a file that is there: {present}"
    if present is not None:
        assert present.sha256 or present.version, "nothing tells this file from what may stand there later"
    if present is not None and trial.content is not None:
        assert present.size_bytes == len(trial.content), "the size is not that of what can be read"
        assert present.sha256 in ("", hashlib.sha256(trial.content).hexdigest()), "the digest is not that of the file"


async def _check_names(make: Make, trial: LocalityTrial) -> None:
    provider = make()
    for dataset in (trial.present, trial.absent, *trial.damaged):
        assert provider.recognises(dataset), f"{dataset} is not recognised"
    for text in NOBODYS:
        assert not provider.recognises(text), f"{text[:40]!r} is recognised"


async def _check_locate(make: Make, trial: LocalityTrial) -> None:
    """A batch is answered one by one, in order, and asking changes nothing."""
    provider, present = make(), trial.present
    assert list(await provider.locate([])) == []
    asked = [present, present, trial.absent, NOBODYS[3]]
    answers = list(await provider.locate(asked))
    assert len(answers) == len(asked), f"{len(asked)} questions, {len(answers)} answers"
    found, again, nowhere, nobodys = answers
    assert found, f"{present} is nowhere"
    assert not nowhere, f"{trial.absent} was found"
    assert not nobodys, f"{NOBODYS[3]} was found"
    assert list(found) == list(again), f"{present} has two answers in one batch"
    assert {replica.dataset for replica in found} == {present}, "a replica of another dataset"
    places = {(replica.node, replica.path) for replica in found}
    assert len(places) == len(found), f"{present} is twice at one place"
    assert len({replica.size_bytes for replica in found}) == 1, f"whole copies of {present} differ in size"
    for replica in found:
        assert replica.size_bytes >= 0
        seconds, money = provider.cost(replica, trial.node)
        assert 0 <= seconds < float("inf"), f"staging takes {seconds} s"
        assert 0 <= money < float("inf"), f"staging costs {money}"
        content = _read(replica.path)
        assert content is None or len(content) == replica.size_bytes, f"{replica.path} is not of the size that was said"


async def _check_stage(make: Make, trial: LocalityTrial) -> None:
    provider, present, node = make(), trial.present, trial.node
    assert await provider.stage(present, []) == 0, "staged to no node, and moved something"
    moved = await provider.stage(present, [node])
    assert moved == 0 or not isinstance(provider, DataSource), "a data source moves nothing itself"
    assert await provider.stage(present, [node, node]) == 0, "staged twice, moved twice"
    (found,) = await provider.locate([present])
    reachable = _on(node, found)
    assert reachable, f"{present} was staged to {node} and is not there"
    if not isinstance(provider, DataSource):
        assert min(provider.cost(replica, node)[0] for replica in reachable) == 0, f"on {node} it still costs time"
    restarted = make()
    assert list((await restarted.locate([present]))[0]) == list(found), "a restart forgets what was staged"
    assert await restarted.stage(present, [node]) == 0, "after a restart it is moved again"
    if trial.content is not None and (content := _read(reachable[0].path)) is not None:
        assert content == trial.content, f"what was staged of {present} is something else"


async def _check_absent(make: Make, trial: LocalityTrial) -> None:
    provider = make()
    await _refusal(provider, trial.absent, trial.node)
    assert not (await provider.locate([trial.absent]))[0], f"{trial.absent} was refused, and is there"
    await _refusal(provider, NOBODYS[3], trial.node)
    try:
        await provider.evict(trial.absent, trial.node)
    except UserError as error:
        _check_text(str(error), trial.absent)


async def _check_damaged(make: Make, trial: LocalityTrial) -> None:
    """Twice: what the first try left behind must not pass for the dataset in the second."""
    if isinstance(make(), DataSource):  # It moves nothing, and so brings nothing damaged; its bytes are tried apart.
        return
    for dataset in trial.damaged:
        for provider in (make(), make()):
            await _refusal(provider, dataset, trial.node)
            found = _on(trial.node, (await provider.locate([dataset]))[0])
            assert not found, f"{dataset} is damaged, and counts as there"


async def _check_copies(make: Make, trial: LocalityTrial) -> None:
    provider, present, node = make(), trial.present, trial.node
    path, content = await _first_copy(provider, trial)
    if not await _evicts(provider, present, node):
        assert _on(node, (await provider.locate([present]))[0]), "it refused to evict, and did"
        assert _read(path) == content, "it refused to evict, and changed the data"
        return
    await provider.evict(present, node)  # Nothing is there any more: no error.
    (elsewhere,) = await provider.locate([present])
    assert not [each for each in elsewhere if each.node == node], f"{present} was evicted and is there"
    assert elsewhere, f"the last copy of {present} was evicted"
    assert _read(path) is None, f"{present} was evicted, and {path} can be read"
    moved: list[int] = []

    async def bring() -> None:
        moved.append(await provider.stage(present, [node]))

    with one_error():
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(bring)
    size = elsewhere[0].size_bytes
    assert max(moved) > 0 or size == 0, f"{present} was staged, and nothing was moved"
    assert sum(moved) <= size, f"three at once: {sum(moved)} bytes moved for {size}"
    assert _read(path) == content, f"three at once: {path} is not what it was"


async def _first_copy(provider: LocalityProvider, trial: LocalityTrial) -> tuple[str, bytes | None]:
    """Where a job on the node reads the dataset, and what it reads there; None where this machine cannot."""
    await provider.stage(trial.present, [trial.node])
    found = _on(trial.node, (await provider.locate([trial.present]))[0])
    assert found, f"{trial.present} was staged to {trial.node} and is not there"
    return found[0].path, _read(found[0].path)


async def _evicts(provider: LocalityProvider, dataset: str, node: NodeName) -> bool:
    try:
        await provider.evict(dataset, node)
    except Refused as error:
        _check_text(str(error), dataset)
        return False
    return True


async def _refusal(provider: LocalityProvider, dataset: str, node: NodeName) -> str:
    """The text of the error that staging must raise."""
    try:
        await provider.stage(dataset, [node])
    except HalError as error:
        _check_text(str(error), dataset)
        return str(error)
    raise AssertionError(f"{dataset} was staged")


def _check_text(text: str, dataset: str) -> None:
    """The job's owner reads it, and nobody else is there to explain."""
    assert dataset in text, f"the error does not name the dataset: {text}"
    assert len(text) <= 1000, f"the error is too long to be read: {text[:100]}..."
    assert "Traceback" not in text, f"the error shows a traceback: {text}"


def _check_whole(path: str, content: bytes | None, when: str) -> None:
    assert (there := _read(path)) in (None, content), f"{when}, {path} has {len(there or b'')} bytes that are not it"


def _on(node: NodeName, replicas: Sequence[Replica]) -> list[Replica]:
    """Those that a job on the node can read."""
    return [replica for replica in replicas if replica.node in (node, None)]


def _read(path: str) -> bytes | None:
    """None: this machine cannot read it, or there is no file."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return None
