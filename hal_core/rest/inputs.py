"""Inputs that a submission calls by a path or URL: looked at once, now, and put into the catalogue without a name.

So the job waits with a size that the engine knows, nodes keep copies, and what it reads is what was there when it was
submitted. What cannot be had now is left to the job, which reads it where it is, and its owner is told so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs
import trio

from hal_core.errors import HalError, InvalidInput, NotFound, Problem, UserError
from hal_core.models.dataset import REFERENCE, Dataset, Measured
from hal_core.models.job import JobSpec
from hal_core.models.message import AddDataset, Submission
from hal_core.rest.call import Call
from hal_core.rest.port import Inputs
from hal_core.rules.anonymous import anonymous

ADDRESSES_MAX: Final = 1000
"""In one submission; a bulk of ten thousand jobs may name that many files."""
SLICE: Final = 100
"""Jobs, or addresses, that are looked at before other tasks get a turn: some milliseconds."""


async def with_inputs(call: Call, submissions: Sequence[Submission]) -> tuple[Sequence[JobSpec], tuple[Problem, ...]]:
    """Their jobs with paths and URLs as datasets, and what the owner should know of those that are none.

    Nobody is asked about a submission that is repeated: it is the same job, whatever a server says now.
    Raises InvalidInput for those that no locality provider recognises.
    """
    inputs, known = call.context.inputs, call.context.kernel.state.client_ids
    specs = [each.spec for each in submissions]
    new = [each.spec for each in submissions if each.spec.inputs and (each.owner.uid, each.client_id) not in known]
    if inputs is None or not new:
        return specs, ()
    wanted, kept = await _wanted(inputs, new)
    await _insist_on_providers(inputs, dict.fromkeys(wanted.values()))
    found = await inputs.measure(tuple(kept))
    datasets, advice = await _added(call, found)
    names = {key: f"{REFERENCE}{datasets[address].id}" for key, address in wanted.items() if address in datasets}
    return await _named(inputs, specs, names), advice


async def _wanted(inputs: Inputs, specs: Sequence[JobSpec]) -> tuple[dict[tuple[str, str], str], dict[str, None]]:
    """The address of each different text and working directory, and the addresses of what is to be brought."""
    wanted: dict[tuple[str, str], str] = {}
    kept: dict[str, None] = {}
    seen = set()
    for number, spec in enumerate(specs):
        if not number % SLICE:
            await trio.lowlevel.checkpoint()
        is_brought = _is_brought(inputs, spec)
        # The jobs of a bulk share what they have in common, and `specs` keeps it: it is looked at once.
        group = (id(spec.inputs), spec.working_directory, is_brought)
        if group in seen:
            continue
        seen.add(group)
        for text in _texts(spec):
            key = (text, spec.working_directory)
            if key not in wanted:
                if not len(wanted) % SLICE:
                    await trio.lowlevel.checkpoint()
                wanted[key] = inputs.address_of(*key)
            if is_brought:
                kept[wanted[key]] = None
            if len(kept) > ADDRESSES_MAX:
                text = f"more than {ADDRESSES_MAX} different paths and URLs; at most so many in one submission"
                raise InvalidInput([Problem("inputs", text)])
    return wanted, kept


async def _insist_on_providers(inputs: Inputs, addresses: Iterable[str]) -> None:
    """Raises InvalidInput for the first of them that nobody recognises, some at once."""
    problems: list[Problem] = []
    for number, address in enumerate(addresses):
        if not number % SLICE:
            await trio.lowlevel.checkpoint()
        problems += filter(None, [_why_nobodys(inputs, address)])
        if len(problems) >= SLICE:
            break
    if problems:
        raise InvalidInput(problems)


def _is_brought(inputs: Inputs, spec: JobSpec) -> bool:
    """A job that waits for others may read what they are still to write: it finds that where it is."""
    return inputs.has_store(spec) and not spec.dependencies


def _texts(spec: JobSpec) -> list[str]:
    return [text for text in spec.inputs if not text.startswith(REFERENCE)]


def _why_nobodys(inputs: Inputs, address: str) -> Problem | None:
    try:
        inputs.provider(address)
    except NotFound as error:
        return Problem("inputs", str(error))
    return None


async def _added(
    call: Call, found: Mapping[str, Measured | HalError]
) -> tuple[dict[str, Dataset], tuple[Problem, ...]]:
    """Those that the catalogue has now, by address."""
    datasets: dict[str, Dataset] = {}
    advice: dict[str, Problem] = {}

    def leave(address: str, error: HalError) -> None:
        text = f"{address}: {error}; it is not brought to the job's nodes, which read it where it is"
        advice[address] = Problem("inputs", text)

    async def add(address: str, dataset: Dataset) -> None:
        try:
            await call.context.kernel.ask(AddDataset(dataset))
            datasets[address] = dataset
        except UserError as error:
            leave(address, error)

    async with trio.open_nursery() as nursery:
        for address, each in found.items():
            if isinstance(each, Measured):
                nursery.start_soon(add, address, anonymous(address, each, call.caller.owner))
            else:
                leave(address, each)
    return datasets, tuple(advice.values())


async def _named(inputs: Inputs, specs: Sequence[JobSpec], names: Mapping[tuple[str, str], str]) -> Sequence[JobSpec]:
    if not names:
        return specs
    named: list[JobSpec] = []
    made: dict[tuple[int, str], tuple[str, ...]] = {}
    for number, spec in enumerate(specs):
        if not number % SLICE:
            await trio.lowlevel.checkpoint()
        if spec.inputs and _is_brought(inputs, spec):
            group = (id(spec.inputs), spec.working_directory)
            if group not in made:
                made[group] = tuple(names.get((text, spec.working_directory), text) for text in spec.inputs)
            named.append(attrs.evolve(spec, inputs=made[group]))
        else:
            named.append(spec)
    return named
